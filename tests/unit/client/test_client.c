/* client/: calls and events; the test is the guest process, and sends its messages beforehand. */
#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "client/client.h"
#include "proto/control.h"

static const char hello[] =
	"{\"event\":\"hello\",\"protocol\":9,\"oldest\":1,\"version\":\"9\",\"name\":\"web\"}";

static void say(int fd, const char *text)
{
	CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* *peer is the guest's end. */
static struct client *connected(int *peer)
{
	struct client *c;
	struct err err = ERR_INIT;
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*peer = pair[1];
	say(*peer, hello);
	CHECK_EQ(client_new(pair[0], "web", &c, &err), 0);
	return c;
}

TEST(a_call_gets_its_reply_and_events_wait)
{
	struct err err = ERR_INIT;
	json_t *result, *event;
	int peer;
	struct client *c = connected(&peer);
	char buf[256] = "";

	say(peer, "{\"event\":\"paused\",\"text\":\"x\"}");
	say(peer, "{\"id\":77,\"result\":{}}"); /* to something that was given up */
	say(peer, "{\"id\":1,\"result\":{\"state\":\"running\"},\"newer\":1}");
	CHECK_EQ(client_call(c, "status", json_pack("{s:i}", "a", 1), NULL, 0, &result, &err), 0);
	CHECK_STR(json_string_value(json_object_get(result, "state")), "running");
	json_decref(result);
	CHECK(recv(peer, buf, sizeof(buf) - 1, 0) > 0);
	CHECK_STR(buf, "{\"id\":1,\"command\":\"status\",\"arguments\":{\"a\":1}}");
	CHECK_EQ(client_next_event(c, 0, &event, &err), 0);
	CHECK_STR(json_string_value(json_object_get(event, "event")), "paused");
	json_decref(event);
	CHECK_EQ(client_next_event(c, 0, &event, &err), -ETIMEDOUT);
	client_free(c);
	close(peer);
}

TEST(a_failure_has_the_guests_words_and_its_codes_number)
{
	static const struct {
		const char *code;
		int error;
	} cases[] = {{"busy", -EBUSY}, {"not-found", -ENOENT}, {"of-the-future", -EIO}};
	int peer;
	struct client *c = connected(&peer);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		char text[128];

		snprintf(text, sizeof(text),
			 "{\"id\":%zu,\"error\":{\"code\":\"%s\",\"text\":\"no\\u001b[2J\"}}",
			 i + 1, cases[i].code);
		say(peer, text);
		CHECK_EQ(client_call(c, "x", NULL, NULL, 0, NULL, &err), cases[i].error);
		CHECK_STR(err.text, "no?[2J"); /* nothing that a terminal would obey */
	}
	client_free(c);
	close(peer);
}

TEST(silence_the_end_and_garbage_are_told_apart)
{
	struct err err = ERR_INIT;
	json_t *event;
	int peer;
	struct client *c = connected(&peer);

	client_set_timeout(c, 1);
	CHECK_EQ(client_call(c, "x", NULL, NULL, 0, NULL, &err), -ETIMEDOUT);
	CHECK_ERR(err, "does not answer");
	say(peer, "{\"id\":true}");
	CHECK_EQ(client_next_event(c, 1000, &event, &err), -EINVAL);
	close(peer);
	CHECK_EQ(client_next_event(c, 1000, &event, &err), -EPIPE);
	CHECK_ERR(err, "has ended");
	CHECK(client_call(c, "x", NULL, NULL, 0, NULL, &err) < 0);
	CHECK_ERR(err, "has ended");
	client_free(c);
}

TEST(events_that_nobody_asks_for_do_not_pile_up)
{
	struct err err = ERR_INIT;
	json_t *event;
	int peer;
	struct client *c = connected(&peer);

	for (int i = 0; i < 300; i++) {
		char text[64], request[64];

		snprintf(text, sizeof(text), "{\"event\":\"e\",\"n\":%d}", i);
		if (i < 299) {
			say(peer, text);
			snprintf(text, sizeof(text), "{\"id\":%d,\"result\":{}}", i + 1);
		}
		say(peer, text);
		if (i < 299) {
			CHECK_EQ(client_call(c, "x", NULL, NULL, 0, NULL, &err), 0);
			CHECK(recv(peer, request, sizeof(request), 0) > 0);
		}
	}
	CHECK_EQ(client_next_event(c, 0, &event, &err), 0);
	CHECK(json_integer_value(json_object_get(event, "n")) >= 43);
	json_decref(event);
	client_free(c);
	close(peer);
}

TEST(who_refuses_or_is_too_new_is_no_guest_for_us)
{
	static const char *const greetings[][2] = {
		{"{\"event\":\"error\",\"text\":\"too many clients\"}", "too many clients"},
		{"{\"event\":\"hello\",\"protocol\":9,\"oldest\":3}", "protocol 3 and newer"},
		{"nonsense", "guest 'web'"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(greetings); i++) {
		struct err err = ERR_INIT;
		struct client *c;
		int pair[2];

		CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		say(pair[1], greetings[i][0]);
		CHECK(client_new(pair[0], "web", &c, &err) < 0);
		CHECK_ERR(err, greetings[i][1]);
		close(pair[1]);
	}
}
