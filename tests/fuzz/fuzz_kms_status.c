/* Answers of a KMS plugin to Status. */
#include "format_events.h"

#include "format/kms_status.h"
#include "valid_utf8.h"

static bool is_text(const char *text)
{
	return valid_utf8((const uint8_t *)text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kms_status status;
	if (kms_status_parse(data, size, &status) < 0)
		return 0;
	must(is_text(status.version) && is_text(status.healthz) && is_text(status.key_id));
	char *flaw = kms_status_flaw(&status);
	must(flaw || (strcmp(status.healthz, "ok") == 0 && status.key_id[0]));
	must(!flaw || (is_text(flaw) && strlen(flaw) < 300));
	free(flaw);
	kms_status_free(&status);
	return 0;
}
