/*
 * The table of commands, and the one that is served. See helper.h.
 */
#include "image/helper/helper.h"

#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/helper/helper_priv.h"
#include "proto/text.h"

/* clang-format off */
static const struct {
	const char *name;
	helper_fn *fn;
} helper_commands[] = {
	{"bitmap", helper_bitmap},
	{"check", helper_check},
	{"commit", helper_commit},
	{"compare", helper_compare},
	{"convert", helper_convert},
	{"create", helper_create},
	{"info", helper_info},
	{"map", helper_map},
	{"measure", helper_measure},
	{"rebase", helper_rebase},
	{"resolve", helper_resolve},
	{"resize", helper_resize},
	{"serve", helper_serve_nbd},
	{"snapshot", helper_snapshot},
};
/* clang-format on */

static int helper_run(struct helper *h, const json_t *request, json_t **out, struct err *err)
{
	const char *command = arg_text(request, "command");

	for (size_t i = 0; command && i < ARRAY_SIZE(helper_commands); i++) {
		if (strcmp(helper_commands[i].name, command) == 0)
			return helper_commands[i].fn(h, json_object_get(request, "arguments"), out,
						     err);
	}
	return err_set(err, -EPROTO, "there is no such command");
}

static void helper_close_files(struct helper *h)
{
	for (unsigned i = 0; i < h->n_files; i++)
		fd_close(h->files[i].fd);
	fd_close(h->keys_fd);
}

int helper_serve(int sock, struct loop *loop, struct blk_engines *engines,
		 struct work_pool *workers, struct err *err)
{
	struct helper h = {
		.sock = sock, .loop = loop, .engines = engines, .workers = workers, .keys_fd = -1};
	json_t *request = NULL, *result = NULL;
	int r = helper_receive_request(&h, &request, err);

	h.n_given = h.n_files;
	if (r == 0)
		r = helper_run(&h, request, &result, err);
	if (r == 0)
		helper_tell(&h, json_pack("{s:o}", "result", result));
	else
		helper_tell(&h, json_pack("{s:{s:i, s:o}}", "error", "code", r, "text",
					  proto_text(err->text)));
	json_decref(request);
	helper_close_files(&h);
	helper_forget_secrets(&h);
	return 0;
}
