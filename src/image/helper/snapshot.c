/*
 * posada image snapshot: an image's internal snapshots.
 */
#include <string.h>

#include "base/err.h"
#include "base/time.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"
#include "proto/text.h"

json_t *helper_snapshot_json(const struct img_snapshot *s)
{
	return json_pack(
		"{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "id", proto_text(s->id), "name",
		proto_text(s->name), "vm-state-size", (json_int_t)s->vm_state_bytes, "date-sec",
		(json_int_t)(s->date_ns / NSEC_PER_SEC), "date-nsec",
		(json_int_t)(s->date_ns % NSEC_PER_SEC), "vm-clock-sec",
		(json_int_t)(s->vm_clock_ns / NSEC_PER_SEC), "vm-clock-nsec",
		(json_int_t)(s->vm_clock_ns % NSEC_PER_SEC), "disk-size", (json_int_t)s->size);
}

static int snapshot_list(struct blk *b, json_t **out, struct err *err)
{
	struct img_snapshot *s;
	json_t *list;
	unsigned n;
	int r = b->image->snapshots(b, &s, &n, err);

	if (r < 0)
		return r;
	list = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, helper_snapshot_json(&s[i]));
	img_snapshots_free(s, n);
	*out = json_pack("{s:o}", "snapshots", list);
	return 0;
}

static int snapshot_change(struct blk *b, const char *action, const char *name, struct err *err)
{
	const struct image_ops *ops = b->image;
	int r = -EPROTO;

	if (!name || !name[0])
		return err_set(err, -EINVAL, "which snapshot?");
	if (strcmp(action, "create") == 0)
		r = ops->snapshot_create(b, name, time_real_ns(), err);
	else if (strcmp(action, "apply") == 0)
		r = ops->snapshot_apply(b, name, err);
	else if (strcmp(action, "delete") == 0)
		r = ops->snapshot_delete(b, name, err);
	else
		err_set(err, r, "there is no '%s'", action);
	if (r == 0 && (r = blk_flush(b)) < 0)
		err_errno(err, r, "cannot write it to the disk");
	return r;
}

int helper_snapshot(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const char *action = arg_text(args, "action");
	const bool is_list = !action || strcmp(action, "list") == 0;
	const struct helper_open o = {.is_alone = true, .is_writable = !is_list};
	struct blk *b;
	int r = helper_open_image(h, 0, &o, &b, err);

	if (r < 0)
		return r;
	if (!b->image->snapshots || !b->image->snapshot_create)
		r = err_set(err, -ENOTSUP, "%s images have no snapshots", b->image->format->name);
	else if (!is_list)
		r = snapshot_change(b, action, arg_text(args, "name"), err);
	if (r == 0 && is_list)
		r = snapshot_list(b, out, err);
	else if (r == 0)
		*out = json_object();
	blk_free(b);
	return r;
}
