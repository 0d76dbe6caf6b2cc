/* Passphrases from descriptors. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "crypt/secret.h"
#include "launch/secrets.h"

static int pipe_with(const char *text)
{
	int pair[2];

	CHECK_EQ(pipe2(pair, O_CLOEXEC), 0);
	CHECK_EQ(write(pair[1], text, strlen(text)), (ssize_t)strlen(text));
	close(pair[1]);
	return pair[0];
}

static void is_read(struct launch_secrets *s, const char *id, int fd, const char *text)
{
	char words[32];
	struct err err = ERR_INIT;
	const struct secret *got;

	snprintf(words, sizeof(words), "id=%s,fd=%d", id, fd);
	CHECK_EQ(launch_secrets_parse(s, words, &err), 0);
	got = launch_secrets_find(s, id);
	CHECK(got && got->n == strlen(text));
	CHECK_MEM(got->bytes, text, got->n);
}

TEST(a_descriptor_is_read_and_closed)
{
	struct launch_secrets s = {.n = 0};
	int fd = pipe_with("fence");

	is_read(&s, "a", fd, "fence");
	CHECK(fcntl(fd, F_GETFD) < 0);
	launch_secrets_fini(&s);
}

TEST(standard_input_stays_open)
{
	struct launch_secrets s = {.n = 0};
	int old = dup(STDIN_FILENO), fd = pipe_with("gate");

	CHECK_EQ(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	close(fd);
	is_read(&s, "a", STDIN_FILENO, "gate");
	CHECK(fcntl(STDIN_FILENO, F_GETFD) >= 0);
	launch_secrets_fini(&s);
	dup2(old, STDIN_FILENO);
	close(old);
}
