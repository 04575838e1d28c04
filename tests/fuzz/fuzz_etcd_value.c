/* Values of etcd: what they are under. */
#include "format_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	must_not_depend_on_some_cuts(value_events, data, size);
	char *text = events_of(value_events, data, size, size);
	bool encrypted = size >= 8 && memcmp(data, "k8s:enc:", 8) == 0;
	/* nothing encrypted is ever taken for plaintext, and nothing else for encrypted */
	must((strcmp(text, "known identity") != 0) || !encrypted);
	must(strncmp(text, "known ", 6) != 0 || encrypted || strcmp(text, "known identity") == 0);
	must(strncmp(text, "known kms v2", 12) != 0 || strstr(text, " id "));
	must(strncmp(text, "known kms", 9) != 0 || strstr(text, " dek "));
	free(text);
	return 0;
}
