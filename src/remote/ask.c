/*
 * Questions to a connector, and its answers (nbd/connector.h).
 */
#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "nbd/connector.h"
#include "remote/remote.h"

int remote_next_question(int sock, char *text, struct connector_head *out)
{
	size_t n_fds = 0;
	ssize_t n = fd_recv(sock, text, CONNECTOR_MAX_QUESTION - 1, NULL, &n_fds);

	if (n <= 0)
		return n == -EAGAIN ? -EAGAIN : -EPIPE;
	text[n] = '\0';
	return connector_parse(text, out) ? 0 : -EPROTO;
}

int remote_answer(int sock, const struct connector_head *h, bool is_yes, const char *rest, int fd)
{
	char text[CONNECTOR_MAX_ANSWER];
	int n = snprintf(text, sizeof(text), "%c%c%lu %s", is_yes ? CONNECTOR_YES : CONNECTOR_NO,
			 h->letter, h->number, rest);

	return fd_send(sock, text, MIN((size_t)n, sizeof(text) - 1), &fd, fd >= 0);
}
