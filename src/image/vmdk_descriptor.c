/*
 * VMDK's descriptor: lines of NAME=VALUE, and a line for each extent. It is as hostile as the image; what isn't
 * known is skipped.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/err.h"
#include "image/vmdk_priv.h"

static const char signature[] = "# Disk DescriptorFile";

bool vmdk_is_descriptor(const u8 *head, size_t bytes)
{
	size_t at = 0;

	while (at < bytes && isspace(head[at]))
		at++;
	return bytes - at >= sizeof(signature) - 1 &&
	       strncasecmp((const char *)head + at, signature, sizeof(signature) - 1) == 0;
}

void vmdk_descriptor_fini(struct vmdk_descriptor *d)
{
	for (unsigned i = 0; i < d->n_extents; i++)
		free(d->extents[i].name);
	free(d->extents);
	free(d->create_type);
	free(d->parent_hint);
	*d = (struct vmdk_descriptor){0};
}

/* The value of a line that sets `name`; NULL: it is another. */
static const char *descriptor_value(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0)
		return NULL;
	line += n;
	line += strspn(line, " \t");
	if (*line != '=')
		return NULL;
	line++;
	return line + strspn(line, " \t");
}

/* What is between quotes, up to the line's end; owned. NULL: nothing is. */
static char *descriptor_quoted(const char *at, const char **out_end)
{
	const char *start = *at == '"' ? at + 1 : NULL;
	const char *end = start ? strpbrk(start, "\"\r\n") : NULL;

	if (!end || *end != '"' || end == start)
		return NULL;
	if (out_end)
		*out_end = end + 1;
	return str_format("%.*s", (int)(end - start), start);
}

static int descriptor_extent_kind(const char *word, enum vmdk_extent_kind *out)
{
	static const struct {
		const char *name;
		enum vmdk_extent_kind kind;
	} kinds[] = {{"FLAT", VMDK_FLAT},
		     {"VMFS", VMDK_FLAT},
		     {"SPARSE", VMDK_SPARSE},
		     {"ZERO", VMDK_ZERO}};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, word) == 0) {
			*out = kinds[i].kind;
			return 0;
		}
	}
	return -ENOTSUP;
}

/* ACCESS SECTORS TYPE "NAME" [OFFSET]. 0: it isn't one. */
static int descriptor_extent(const char *line, struct vmdk_extent_line *out, struct err *err)
{
	struct vmdk_extent_line e = {0};
	char access[16], type[16];
	const char *rest;
	int n = 0;

	if (sscanf(line, "%15s %lu %15s %n", access, &e.sectors, type, &n) < 3 || !n ||
	    (strcmp(access, "RW") != 0 && strcmp(access, "RDONLY") != 0 &&
	     strcmp(access, "NOACCESS") != 0))
		return 0;
	if (strcmp(access, "NOACCESS") == 0)
		return err_set(err, -EACCES, "an extent is marked as not accessible");
	if (descriptor_extent_kind(type, &e.kind) < 0)
		return err_set(err, -ENOTSUP, "extents of the type %s are not supported", type);
	e.is_writable = strcmp(access, "RW") == 0;
	rest = line + n;
	if (e.kind != VMDK_ZERO) {
		e.name = descriptor_quoted(line + n, &rest);
		if (!e.name)
			return err_set(err, -EINVAL, "an extent has no name");
	}
	if (e.kind == VMDK_FLAT)
		(void)sscanf(rest, " %lu", &e.offset);
	*out = e;
	return 1;
}

static struct vmdk_mark descriptor_mark(const char *text, const char *digits)
{
	return (struct vmdk_mark){(u64)(digits - text), (unsigned)strspn(digits, "0123456789")};
}

static int descriptor_add_extent(struct vmdk_descriptor *d, const char *text, const char *line,
				 struct err *err)
{
	struct vmdk_extent_line e = {0};
	int r = descriptor_extent(line, &e, err);

	if (r <= 0)
		return r;
	line += strcspn(line, " \t");
	e.mark = descriptor_mark(text, line + strspn(line, " \t"));
	if (d->n_extents == VMDK_EXTENTS_MAX)
		r = err_set(err, -EINVAL, "more than %u extents", VMDK_EXTENTS_MAX);
	else if (!e.sectors || e.sectors > BLK_SIZE_MAX / BLK_SECTOR ||
		 e.offset > BLK_SIZE_MAX / BLK_SECTOR)
		r = err_set(err, -EINVAL, "an extent of %lu sectors", e.sectors);
	if (r < 0) {
		free(e.name);
		return r;
	}
	d->extents = mem_grow(d->extents, d->n_extents, d->n_extents + 1, sizeof(e));
	d->extents[d->n_extents++] = e;
	return 0;
}

/* ddb.geometry.cylinders = "123" */
static bool descriptor_geometry(struct vmdk_descriptor *d, const char *text, const char *line)
{
	const char *value;

	if ((value = descriptor_value(line, "ddb.geometry.cylinders")) != NULL)
		d->cylinders = descriptor_mark(text, value + (*value == '"'));
	else if ((value = descriptor_value(line, "ddb.geometry.heads")) != NULL)
		d->heads = (u32)strtoul(value + (*value == '"'), NULL, 10);
	else if ((value = descriptor_value(line, "ddb.geometry.sectors")) != NULL)
		d->sectors = (u32)strtoul(value + (*value == '"'), NULL, 10);
	return value;
}

static int descriptor_line(struct vmdk_descriptor *d, const char *text, const char *line,
			   struct err *err)
{
	const char *value;

	if ((value = descriptor_value(line, "CID")) != NULL) {
		d->cid_at = (u64)(value - text);
		d->cid_digits = (u32)strspn(value, "0123456789abcdefABCDEF");
		d->cid = (u32)strtoul(value, NULL, 16);
	} else if ((value = descriptor_value(line, "parentCID")) != NULL) {
		d->parent_cid = (u32)strtoul(value, NULL, 16);
	} else if ((value = descriptor_value(line, "createType")) != NULL) {
		free(d->create_type);
		d->create_type = descriptor_quoted(value, NULL);
	} else if ((value = descriptor_value(line, "parentFileNameHint")) != NULL) {
		free(d->parent_hint);
		d->parent_hint = descriptor_quoted(value, NULL);
	} else if (!descriptor_geometry(d, text, line)) {
		return descriptor_add_extent(d, text, line, err);
	}
	return 0;
}

int vmdk_descriptor_parse(const char *text, struct vmdk_descriptor *out, struct err *err)
{
	struct vmdk_descriptor d = {.parent_cid = VMDK_NO_PARENT};
	int r = 0;

	for (const char *line = text; *line && r == 0;) {
		line += strspn(line, " \t\r\n");
		r = descriptor_line(&d, text, line, err);
		line += strcspn(line, "\n");
	}
	if (r < 0)
		vmdk_descriptor_fini(&d);
	else
		*out = d;
	return r;
}
