/*
 * The command "set-limits": I/O limits of a disk or network card while the guest runs.
 */
#include <jansson.h>

#include "base/base.h"
#include "base/err.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

struct limit_row {
	const char *name;
	size_t offset;
};

static const struct {
	struct limit_row limit, burst;
} limit_rows[] = {
	{{"limit-bps", offsetof(struct guest_limits, bytes)},
	 {"burst-bytes", offsetof(struct guest_limits, burst_bytes)}},
	{{"limit-iops", offsetof(struct guest_limits, ops)},
	 {"burst-ops", offsetof(struct guest_limits, burst_ops)}},
};

static u64 *limit_member(struct guest_limits *l, const struct limit_row *row)
{
	return (u64 *)((u8 *)l + row->offset);
}

/* 1: it is named, 0: it isn't. */
static int limit_take(const json_t *from, const struct limit_row *row, u64 *out, struct err *err)
{
	const json_t *value = json_object_get(from, row->name);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(err, -EINVAL, "'%s' is not a number", row->name);
	*out = (u64)json_integer_value(value);
	return 1;
}

/* What isn't named stays as it is; but a new limit has the usual burst unless one is named. */
static int limit_take_arguments(const json_t *from, struct guest_limits *l, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(limit_rows); i++) {
		const struct limit_row *limit = &limit_rows[i].limit, *burst = &limit_rows[i].burst;
		int r = limit_take(from, limit, limit_member(l, limit), err);

		if (r > 0)
			*limit_member(l, burst) = 0;
		if (r >= 0)
			r = limit_take(from, burst, limit_member(l, burst), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void limit_show(json_t *all, struct guest_limits *l, const struct limit_row *row)
{
	json_object_set_new(all, row->name, json_integer((json_int_t)*limit_member(l, row)));
}

static json_t *limit_json(struct guest_limits *l)
{
	json_t *all = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(limit_rows); i++) {
		limit_show(all, l, &limit_rows[i].limit);
		limit_show(all, l, &limit_rows[i].burst);
	}
	return all;
}

void monitor_set_limits(struct monitor *m, struct control_request *r)
{
	const json_t *arguments = control_arguments(r);
	const char *name = json_string_value(json_object_get(arguments, "device"));
	struct guest_limits limits;
	struct err err = ERR_INIT;
	int ret = name ? machine_get_limits(m->machine, name, &limits, &err)
		       : err_set(&err, -EINVAL, "'device' is no name");

	if (!ret)
		ret = limit_take_arguments(arguments, &limits, &err);
	if (!ret)
		ret = machine_set_limits(m->machine, name, &limits, &err);
	if (!ret)
		ret = machine_get_limits(m->machine, name, &limits, &err);
	if (ret < 0)
		control_fail_err(r, &err);
	else
		control_reply(r, limit_json(&limits));
}
