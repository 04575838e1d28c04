#include "engine/program_version.h"

#include <string.h>

#include "base/text.h"

#define PARTS 3
enum { MAJOR, MINOR };

static bool parse(const char *text, uint64_t ret[static PARTS])
{
	for (size_t i = 0; text && i < PARTS; i++) {
		size_t len = strcspn(text, ".");
		bool last = i + 1 == PARTS;
		if (text_bytes_to_u64(text, len, &ret[i]) < 0 || (text[len] == '\0') != last)
			return false;
		text += len + !last;
	}
	return text;
}

bool program_version_fits(const char *controller, const char *agent)
{
	uint64_t ours[PARTS], theirs[PARTS];
	if (!parse(controller, ours) || !parse(agent, theirs) || ours[MAJOR] != theirs[MAJOR])
		return false;
	return theirs[MINOR] == ours[MINOR] || (ours[MINOR] > 0 && theirs[MINOR] == ours[MINOR] - 1);
}
