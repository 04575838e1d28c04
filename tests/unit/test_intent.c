#include <stdlib.h>

#include "test_support.h"
#include "shape_support.h"
#include "engine/intent.h"

/* What a rotation makes of a configuration. The new key is called NEW; its name is random. */
static const struct {
	const char *name, *from, *provider, *drop; /* drop: names by comma; "-" among them: plaintext */
	const char *said;                          /* the target, or the error */
} rows[] = {
	{"the write key makes room for a new one of its kind", "secrets=a,-", NULL, "", "secrets=NEW,-"},
	{"of another kind", "secrets=a,-", "secretbox", "", "secrets=box:NEW,-"},
	{"older read keys stay", "secrets=a,b,-", NULL, "", "secrets=NEW,b,-"},
	{"unless named", "secrets=a,b,-", NULL, "b", "secrets=NEW,-"},
	{"plaintext goes when asked", "secrets=a,-", NULL, "-", "secrets=NEW"},
	{"one new key for all rules of a kind", "secrets=a; configmaps=b,-", NULL, "", "secrets=NEW; configmaps=NEW,-"},
	{"what writes plaintext beside a local key stays so", "secrets=a; configmaps=-", NULL, "",
	 "secrets=NEW; configmaps=-"},
	{"a key leaves rules that get no new key, too", "secrets=a; configmaps=-,box:old", NULL, "old",
	 "secrets=NEW; configmaps=-"},
	{"and rules that write with KMS", "secrets=a; configmaps=kms:v,old,-", NULL, "old,-",
	 "secrets=NEW; configmaps=kms:v"},
	{"plaintext that is written is no fallback", "secrets=a,-; configmaps=-,b", NULL, "-",
	 "secrets=NEW; configmaps=-,b"},
	{"encryption is turned on where a kind is named", "secrets=-", "aesgcm", "", "secrets=gcm:NEW,-"},
	{"and its read keys are looked at", "secrets=-,b", "aescbc", "b", "secrets=NEW,-"},
	{"no kind named", "secrets=-", NULL, "", "no rule writes with a local key, so there is none to rotate"},
	{"a kind that is none", "secrets=a", "identity", "",
	 "--provider is aescbc, aesgcm, secretbox or kms, not identity"},
	{"KMS without its plugin", "secrets=a", "kms", "", "--provider kms needs --kms-name and --kms-endpoint"},
	{"KMS in the place of a local key", "secrets=a,-; configmaps=-", "kms:v", "", "secrets=kms:v,-; configmaps=-"},
	{"of another plugin's", "secrets=kms:w,a", "kms:v", "", "secrets=kms:v,a"},
	{"of plaintext, where nothing is encrypted", "secrets=-", "kms:v", "-", "secrets=kms:v"},
	{"KMS in two rules", "secrets=a; configmaps=kms:w", "kms:v", "",
	 "2 rules would write with kms/v, and kube-apiserver takes a KMS provider's name in one rule only"},
	{"KMS under a name that is there", "secrets=a,kms:v", "kms:v", "",
	 "--kms-name v: the present configuration has that name already"},
	{"new DEKs of each KMS provider", "secrets=kms:v,a; configmaps=kms:w,-; events=b", "renew", "",
	 "secrets=kms:v-19700101T0000Z,a; configmaps=kms:w-19700101T0000Z,-; events=b"},
	{"once more", "secrets=kms:v-20251231T2359Z,-", "renew", "-", "secrets=kms:v-19700101T0000Z"},
	{"of those that would be called alike",
	 "secrets=kms:v-20251231T2359Z; configmaps=kms:v; events=kms:v-20260101T0000Z", "renew", "",
	 "secrets=kms:v-19700101T0000Z; configmaps=kms:v-19700101T0000Z-2; events=kms:v-19700101T0000Z-3"},
	{"a name that only ends like a time", "secrets=kms:20251231T2359Z", "renew", "",
	 "secrets=kms:20251231T2359Z-19700101T0000Z"},
	{"twice within a minute", "secrets=kms:v-19700101T0000Z", "renew", "",
	 "kms/v-19700101T0000Z was made within this minute: wait for the next one"},
	{"new DEKs where no KMS is", "secrets=a", "renew", "",
	 "no rule writes with a KMS provider, so there is no DEK to renew"},
	{"a local key in the place of KMS", "secrets=kms:v,-", "aescbc", "",
	 "no rule of the present configuration can be given a new key"},
	{"a key that is not there", "secrets=a", NULL, "x",
	 "--drop-key x: the present configuration has no key of that name"},
	{"a key that still writes", "secrets=a; configmaps=kms:v", NULL, "v",
	 "--drop-key v: a rule writes with it that this rotation gives no new key"},
};

static void replace_name(struct buf *to, const char *text, const char *name)
{
	for (const char *at; *name && (at = strstr(text, name)); text = at + strlen(name)) {
		assert_int_equal(buf_append(to, text, (size_t)(at - text)), 0);
		assert_int_equal(buf_append_text(to, "NEW"), 0);
	}
	assert_int_equal(buf_append_text(to, text), 0);
}

static void makes(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *from = shape_parse(row->from), *to = NULL;
	_cleanup_strings_ all = {0}, drop = {0}, made = {0};
	_cleanup_keys_ keys = {0};
	_cleanup_error_ failed = NULL;
	_cleanup_buf_ said = BUF_INIT(4096);
	strings_split(&all, row->drop, ',');
	struct intent intent = {.provider = row->provider, .drop_keys = &drop, .wall_now = 1};
	if (text_equal(row->provider, "renew")) {
		intent.provider = NULL;
		intent.renew_dek = true;
	} else if (row->provider && text_starts(row->provider, "kms:")) {
		intent.kms = (struct intent_kms){row->provider + strlen("kms:"), "unix:///kms.sock", 0};
		intent.provider = "kms";
	}
	for (size_t i = 0; i < all.count; i++) {
		if (text_equal(all.items[i], "-"))
			intent.drop_identity = true;
		else if (*all.items[i])
			strings_add(&drop, all.items[i]);
	}
	if (intent_target(from, &intent, &keys, &to, &made, &failed) < 0) {
		assert_null(to);
		assert_string_equal(error_message(failed), row->said);
		return;
	}
	/* The new key's is random. */
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++)
			to->rules[r].keys[k].fingerprint[0] = '0';
	_cleanup_free_ char *text = shape_text(to);
	bool local = !text_starts(made.items[0], "kms/");
	replace_name(&said, text, local ? strchr(made.items[0], '/') + 1 : "");
	assert_string_equal(buf_text(&said), row->said);
	assert_int_equal(keys.count, local);
}

/* Where nothing but leaving is asked for. */
static const struct {
	const char *name, *from, *drop, *said;
} drops[] = {
	{"a read key", "secrets=a,b,-", "b", "secrets=a,-"},
	{"from every rule", "secrets=a,b; configmaps=-,b", "b", "secrets=a; configmaps=-"},
	{"plaintext, where it is a fallback", "secrets=a,-; configmaps=-", "-", "secrets=a; configmaps=-"},
	{"a key that writes", "secrets=a,b", "a",
	 "--drop-key a: a rule writes with it that this rotation gives no new key"},
	{"a key that is not there", "secrets=a", "x",
	 "--drop-key x: the present configuration has no key of that name"},
	{"plaintext that is not there", "secrets=a", "-", "nothing would leave the present configuration"},
};

static void leaves_alone(void **state)
{
	const __typeof__(drops[0]) *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *from = shape_parse(row->from), *to = NULL;
	_cleanup_strings_ drop = {0};
	_cleanup_error_ failed = NULL;
	bool plaintext = text_equal(row->drop, "-");
	if (!plaintext)
		strings_add(&drop, row->drop);
	const struct intent intent = {.drop_keys = &drop, .drop_identity = plaintext};
	int rc = intent_without_new_key(from, &intent, &to, &failed);
	_cleanup_free_ char *text = rc == 0 ? shape_text(to) : xstrdup(error_message(failed));
	assert_string_equal(text, row->said);
}

int main(void)
{
	return RUN_ROWS(makes, rows) + RUN_ROWS(leaves_alone, drops);
}
