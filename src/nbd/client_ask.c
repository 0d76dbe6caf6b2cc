/*
 * The NBD client's questions to the connector, and its answers. See connector.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "nbd/client_priv.h"

#define ASK_PATIENCE_NS (60 * NSEC_PER_SEC) /* where nobody said anything else */

/* A question whose answer is waited for: on the stack of who asked. */
struct nbdc_asked {
	u64 number;
	bool is_answered;
	int result;
	char why[256];
};

static int ask_send(struct nbdc *d, char letter, const char *rest)
{
	char text[CONNECTOR_MAX_QUESTION];
	int n = snprintf(text, sizeof(text), "%c%lu%s%s", letter, ++d->question, *rest ? " " : "",
			 rest);

	assert(n > 0 && (size_t)n < sizeof(text));
	return fd_send_now(d->connector.fd, text, (size_t)n);
}

int nbdc_ask_socket(struct nbdc *d)
{
	int r = ask_send(d, CONNECTOR_CONNECT, "");

	if (r == 0)
		d->asked_socket = d->question;
	return r;
}

/* --- answers --- */

static void ask_end(struct nbdc *d, int result, const char *why)
{
	struct nbdc_asked *a = d->asked;

	d->asked = NULL;
	if (!a)
		return;
	a->is_answered = true;
	a->result = result;
	snprintf(a->why, sizeof(a->why), "%s", why);
}

/* A connection is one, whichever question it is the answer to; a refusal counts for its own question only. */
static void ask_take_answer(struct nbdc *d, bool is_yes, const struct connector_head *h, int *fd)
{
	if (h->letter == CONNECTOR_CONNECT && is_yes && *fd >= 0)
		nbdc_take_socket(d, fd_take(*fd), h->rest);
	else if (h->letter == CONNECTOR_CONNECT && !is_yes && h->number == d->asked_socket)
		nbdc_take_refusal(d, h->rest);
	else if (d->asked && h->letter != CONNECTOR_CONNECT && h->number == d->asked->number)
		ask_end(d, is_yes ? 0 : -ENOTSUP, h->rest);
}

void nbdc_on_answer(struct loop_fd *w, unused u32 events)
{
	static const char gone[] = "who makes connections is gone";
	struct nbdc *d = container_of(w, struct nbdc, connector);
	char text[CONNECTOR_MAX_ANSWER + 1];
	struct connector_head h;
	size_t n_fds = 1;
	int fd = -1;
	ssize_t n = fd_recv(w->fd, text, sizeof(text) - 1, &fd, &n_fds);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		loop_fd_remove(d->node.blk.loop, w);
		nbdc_take_refusal(d, gone);
		ask_end(d, -EPIPE, gone);
	} else {
		text[n] = '\0';
		if (connector_parse(text + 1, &h))
			ask_take_answer(d, text[0] == CONNECTOR_YES, &h, &fd);
	}
	if (fd >= 0)
		close(fd);
	nbdc_go_on(d);
}

/* --- a question that is waited for --- */

int nbdc_ask(struct nbdc *d, char letter, const char *rest, struct err *err)
{
	u64 end = time_mono_ns() + (d->o.answer_ns ? d->o.answer_ns : ASK_PATIENCE_NS);
	struct nbdc_asked a = {.result = -ETIMEDOUT};
	int r;

	if (!d->connector.is_added)
		return err_set(err, -ENOTSUP, "it can't be asked for that");
	r = ask_send(d, letter, rest);
	if (r < 0)
		return err_errno(err, r, "cannot ask for it");
	a.number = d->question;
	d->asked = &a;
	while (!a.is_answered && time_mono_ns() < end)
		nbdc_poll(d);
	d->asked = NULL;
	if (!a.is_answered)
		return err_set(err, -ETIMEDOUT, "no answer came: whether it was done isn't known");
	return a.result < 0 ? err_set(err, a.result, "%s", a.why) : 0;
}
