/*
 * The messages between a connector and who asks it. See connector.h.
 */
#include "nbd/connector.h"

bool connector_parse(const char *text, struct connector_head *out)
{
	const char *at = text + 1;
	u64 number = 0;

	if (!text[0])
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (u64)(*at - '0'), &number))
			return false;
	}
	if (at == text + 1 || (*at && *at != ' '))
		return false;
	*out = (struct connector_head){
		.letter = text[0], .number = number, .rest = *at ? at + 1 : at};
	return true;
}
