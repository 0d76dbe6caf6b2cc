/* state/: tables round-trip; every damage is refused with a sentence. */
#include "test.h"

#include "base/alloc.h"
#include "base/err.h"
#include "state/state.h"

struct inner {
	u16 a;
	bool flag;
};

struct outer {
	u32 x;
	u64 many[3];
	u8 raw[5];
	struct inner in[2];
	u32 late; /* since version 2 */
	u8 feature;
	bool is_refused;
	int saves;
};

static const struct state_field inner_fields[] = {
	STATE_U(struct inner, a),
	STATE_B(struct inner, flag),
	STATE_END,
};
static const struct state_table inner_table = {
	.name = "inner", .version = 1, .fields = inner_fields};

static const struct state_field feature_fields[] = {STATE_U(struct outer, feature), STATE_END};

static bool feature_is_needed(const void *object)
{
	return ((const struct outer *)object)->feature != 0;
}

static const struct state_table feature_table = {
	.name = "outer/feature",
	.version = 1,
	.fields = feature_fields,
	.is_needed = feature_is_needed,
};
static const struct state_table *const outer_subs[] = {&feature_table, NULL};

static const struct state_field outer_fields[] = {
	STATE_U(struct outer, x),
	STATE_U_ARRAY(struct outer, many),
	STATE_RAW(struct outer, raw),
	STATE_SUB_ARRAY(struct outer, in, &inner_table),
	STATE_U_SINCE(2, struct outer, late),
	STATE_END,
};

static void outer_before_save(void *object)
{
	((struct outer *)object)->saves++;
}

static int outer_after_load(void *object, u16 version, struct err *err)
{
	struct outer *o = object;

	if (version < 2)
		o->late = 99;
	return o->x == 666 ? err_set(err, -EINVAL, "x is 666") : 0;
}

static const struct state_table outer_table = {
	.name = "outer",
	.version = 2,
	.oldest_version = 1,
	.fields = outer_fields,
	.subsections = outer_subs,
	.before_save = outer_before_save,
	.after_load = outer_after_load,
};
/* The same object as an older program wrote it, and as one that lacks the subsection reads it. */
static const struct state_table old_table = {.name = "outer", .version = 1, .fields = outer_fields};
static const struct state_table plain_table = {
	.name = "outer", .version = 2, .fields = outer_fields};

static struct outer outer_sample(void)
{
	return (struct outer){.x = 7,
			      .many = {1, 2, 0x1122334455667788},
			      .raw = "abcd",
			      .in = {{3, true}, {4, false}},
			      .late = 5,
			      .feature = 6};
}

static u8 *outer_saved(const struct state_table *t, struct outer *o, size_t *out_size)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	u8 *copy;

	state_save(w, t, 11, o);
	data = state_writer_finish(w, out_size);
	copy = mem_alloc(1, *out_size);
	memcpy(copy, data, *out_size);
	state_writer_free(w);
	return copy;
}

static int outer_load(const u8 *data, size_t size, const struct state_table *t, struct outer *out,
		      struct err *err)
{
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
	const char *name;
	u32 instance;
	int ret = state_reader_next(r, &name, &instance, err);

	if (ret <= 0)
		return ret < 0 ? ret : err_set(err, -ENOENT, "no section");
	if (strcmp(name, "outer") || instance != 11)
		return err_set(err, -EINVAL, "other section");
	ret = state_load(r, t, out, err);
	if (ret < 0)
		return ret;
	return state_reader_next(r, &name, &instance, err);
}

TEST(what_was_saved_is_loaded)
{
	struct outer o = outer_sample(), got = {0};
	struct err err = ERR_INIT;
	size_t size;
	u8 *data = outer_saved(&outer_table, &o, &size);

	CHECK_EQ(o.saves, 1);
	CHECK_EQ(outer_load(data, size, &outer_table, &got, &err), 0);
	got.saves = o.saves;
	CHECK_MEM(&got, &o, sizeof(o));
	free(data);
}

TEST(an_older_version_loads_without_the_newer_fields)
{
	struct outer o = outer_sample(), got = {0};
	struct state_table old = old_table;
	struct err err = ERR_INIT;
	size_t size;
	u8 *data;

	/* Version 1 had no field "late": end the table before it. */
	struct state_field fields[ARRAY_SIZE(outer_fields)];
	memcpy(fields, outer_fields, sizeof(fields));
	fields[4] = (struct state_field)STATE_END;
	old.fields = fields;
	data = outer_saved(&old, &o, &size);
	CHECK_EQ(outer_load(data, size, &outer_table, &got, &err), 0);
	CHECK_EQ(got.late, 99);
	CHECK_EQ(got.in[1].a, 4);
	free(data);
}

TEST(a_newer_version_or_unknown_subsection_is_refused)
{
	struct outer o = outer_sample(), got = {0};
	struct err err = ERR_INIT;
	size_t size;
	u8 *data = outer_saved(&outer_table, &o, &size);

	CHECK_EQ(outer_load(data, size, &old_table, &got, &err), -EINVAL);
	CHECK_ERR(err, "version 2; this program reads 1 to 1");
	CHECK_EQ(outer_load(data, size, &plain_table, &got, &err), -EINVAL);
	free(data);
}

TEST(loaded_values_are_checked)
{
	struct outer o = outer_sample(), got = {0};
	struct err err = ERR_INIT;
	size_t size;
	u8 *data;

	o.x = 666;
	data = outer_saved(&outer_table, &o, &size);
	CHECK_EQ(outer_load(data, size, &outer_table, &got, &err), -EINVAL);
	CHECK_STR(err.text, "section \"outer\": x is 666");
	free(data);
}

TEST(every_cut_and_every_flipped_bit_is_refused)
{
	struct outer o = outer_sample(), got = {0};
	struct err err = ERR_INIT;
	size_t size;
	u8 *data = outer_saved(&outer_table, &o, &size);

	for (size_t cut = 0; cut < size; cut++) {
		u8 *part = mem_alloc(1, cut); /* exact size: the sanitizer sees any overrun */

		memcpy(part, data, cut);
		CHECK(outer_load(part, cut, &outer_table, &got, &err) < 0);
		free(part);
	}
	for (size_t bit = 0; bit < (size - 4) * 8; bit++) {
		data[bit / 8] ^= (u8)(1 << bit % 8);
		CHECK(outer_load(data, size, &outer_table, &got, &err) < 0);
		data[bit / 8] ^= (u8)(1 << bit % 8);
	}
	free(data);
}
