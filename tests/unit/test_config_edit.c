/* Edits with their whole results: whose a comment is, where new text goes and what it looks like. Every edit of every file
 * of a corpus is in tests/e2e/test_config_edits.py. */
#include "test_support.h"
#include <stdio.h>
#include <string.h>
#include "base/json_read.h"
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"

#define A "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
#define B "MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
#define FA "27de32c7e1a7"
#define FB "1d95fae56273"
#define HEAD "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
#define NONCE "# kube-rekey nonce N\n"

#define TO(keys) "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" keys "]}]}"
#define CBC_A "{\"provider\":\"aescbc\",\"name\":\"a\",\"fingerprint\":\"" FA "\"}"
#define CBC_B "{\"provider\":\"aescbc\",\"name\":\"b\",\"fingerprint\":\"" FB "\"}"
#define BOX_B "{\"provider\":\"secretbox\",\"name\":\"b\",\"fingerprint\":\"" FB "\"}"
#define PLAIN "{\"provider\":\"identity\"}"
#define KMS_V2 \
	"{\"provider\":\"kms\",\"name\":\"v\",\"version\":2,\"endpoint\":\"unix:///v\",\"timeoutNs\":90000000000}"

static const char commented[] = HEAD "# rules\n"
				     "- resources: [secrets]\n"
				     "  providers:\n"
				     "  # of aescbc\n"
				     "  - aescbc: # behind\n"
				     "      keys:\n"
				     "      # nobody's\n"
				     "\n"
				     "      # of a\n"
				     "      - name: a\n"
				     "        # inside a\n"
				     "        secret: " A " # behind a\n"
				     "        # below a\n"
				     "  # of identity\n"
				     "  - identity: {}\n"
				     "# end\n";

#define COMMENTED_TOP HEAD "# rules\n- resources: [secrets]\n  providers:\n"
#define COMMENTED_CBC                                                                                                  \
	"  # of aescbc\n  - aescbc: # behind\n      keys:\n      # nobody's\n\n      # of a\n      - name: a\n       " \
	" # inside a\n"                                                                                                \
	"        secret: " A " # behind a\n        # below a\n"
#define COMMENTED_PLAIN "  # of identity\n  - identity: {}\n"
#define NEW_BOX "  - secretbox:\n      keys:\n      - name: b\n        secret: " B "\n"

static const char two_keys[] =
	HEAD "- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n"
	     "      - name: a # first\n        secret: " A "\n      # second\n      - name: b\n        secret: " B;

struct edit_row {
	const char *name, *before, *to, *after;
};

static const struct edit_row edits[] = {
	{"nothing but the nonce", commented, TO(CBC_A "," PLAIN),
	 NONCE COMMENTED_TOP COMMENTED_CBC COMMENTED_PLAIN "# end\n"},
	{"a new read key behind", commented, TO(CBC_A "," BOX_B "," PLAIN),
	 NONCE COMMENTED_TOP COMMENTED_CBC NEW_BOX COMMENTED_PLAIN "# end\n"},
	{"a new key in front", commented, TO(BOX_B "," CBC_A "," PLAIN),
	 NONCE COMMENTED_TOP NEW_BOX COMMENTED_CBC COMMENTED_PLAIN "# end\n"},
	{"providers change places", commented, TO(PLAIN "," CBC_A),
	 NONCE COMMENTED_TOP COMMENTED_PLAIN COMMENTED_CBC "# end\n"},
	{"the last key takes its provider along", commented, TO(PLAIN), NONCE COMMENTED_TOP COMMENTED_PLAIN "# end\n"},
	{"the same type joins the list", commented, TO(CBC_A "," CBC_B "," PLAIN),
	 NONCE COMMENTED_TOP COMMENTED_CBC "      - name: b\n        secret: " B "\n" COMMENTED_PLAIN "# end\n"},
	{"a kms provider", commented, TO(KMS_V2 "," PLAIN),
	 NONCE COMMENTED_TOP "  - kms:\n      apiVersion: v2\n      name: v\n      endpoint: unix:///v\n      timeout: "
			     "90s\n" COMMENTED_PLAIN "# end\n"},
	{"keys change places, no line end at the end", two_keys, TO(CBC_B "," CBC_A),
	 NONCE HEAD "- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n      # second\n      - name: b\n "
		    "       secret: " B "\n      - name: a # first\n        secret: " A},
	{"the first key goes, no line end at the end", two_keys, TO(CBC_B),
	 NONCE HEAD "- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n      # second\n      - name: b\n "
		    "       secret: " B},
	{"a key behind a missing line end", two_keys, TO(CBC_A "," CBC_B "," PLAIN),
	 NONCE HEAD
	 "- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n      - name: a # first\n        secret: " A
	 "\n      # second\n      - name: b\n        secret: " B "\n  - identity: {}"},
	{"a list is cut in two", two_keys, TO(CBC_A "," PLAIN "," CBC_B),
	 NONCE HEAD
	 "- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n      - name: a # first\n        secret: " A
	 "\n  - identity: {}\n  - aescbc:\n      keys:\n      # second\n      - name: b\n        secret: " B},
	{"a rule in front", commented,
	 "{\"rules\":[{\"resources\":[\"configmaps\",\"*.apps\"],\"keys\":[" BOX_B "," PLAIN
	 "]},{\"resources\":[\"secrets\"],\"keys\":[" CBC_A "," PLAIN "]}]}",
	 NONCE HEAD "- resources: [configmaps, '*.apps']\n  providers:\n" NEW_BOX
		    "  - identity: {}\n# rules\n- resources: [secrets]\n"
		    "  providers:\n" COMMENTED_CBC COMMENTED_PLAIN "# end\n"},
	{"a rule behind", commented,
	 "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" CBC_A "," PLAIN
	 "]},{\"resources\":[\"configmaps\"],\"keys\":[" PLAIN "]}]}",
	 NONCE COMMENTED_TOP COMMENTED_CBC COMMENTED_PLAIN
	 "- resources: [configmaps]\n  providers:\n  - identity: {}\n# end\n"},
	{"resources added and removed", commented,
	 "{\"rules\":[{\"resources\":[\"configmaps\",\"secrets\",\"events\"],\"keys\":[" CBC_A "," PLAIN "]}]}",
	 NONCE HEAD "# rules\n- resources: [configmaps, secrets, events]\n  providers:\n" COMMENTED_CBC COMMENTED_PLAIN
		    "# end\n"},
	{"CRLF",
	 "# kube-rekey nonce old\r\nkind: EncryptionConfiguration\r\napiVersion: "
	 "apiserver.config.k8s.io/v1\r\nresources:\r\n"
	 "- resources: [secrets]\r\n  providers:\r\n  - identity: {}\r\n",
	 TO(PLAIN "," BOX_B),
	 "# kube-rekey nonce N\r\nkind: EncryptionConfiguration\r\napiVersion: "
	 "apiserver.config.k8s.io/v1\r\nresources:\r\n"
	 "- resources: [secrets]\r\n  providers:\r\n  - identity: {}\r\n  - secretbox:\r\n      keys:\r\n      - name: "
	 "b\r\n"
	 "        secret: " B "\r\n"},
	{"older nonces go",
	 "# top\n  # kube-rekey nonce 1 and words\n" HEAD
	 "- resources: [secrets]\n# kube-rekey nonce 2\n  providers: [identity: {}]\n",
	 TO(PLAIN), "# top\n  # kube-rekey nonce N\n" HEAD "- resources: [secrets]\n  providers: [identity: {}]\n"},
	{"flow, comments go along",
	 HEAD "- resources: [secrets]\n  providers: [ # bracket\n    { aescbc: { keys: [ { name: a, secret: " A
	      " } ] } }, # of aescbc\n"
	      "    # of identity\n    { identity: {} } ]\n",
	 TO(PLAIN "," CBC_A),
	 NONCE HEAD "- resources: [secrets]\n  providers: [ # bracket\n    # of identity\n    { identity: {} },\n"
		    "    { aescbc: { keys: [ { name: a, secret: " A " } ] } } # of aescbc\n       ]\n"},
};

static void make_keyring(struct keyring_entry entries[2], struct keyring *ring)
{
	struct secret *bytes;
	assert_int_equal(secret_base64_decode(B, strlen(B), &bytes), 0);
	entries[0] = (struct keyring_entry){PROVIDER_AESCBC, "b", bytes};
	entries[1] = (struct keyring_entry){PROVIDER_SECRETBOX, "b", bytes};
	*ring = (struct keyring){entries, 2};
}

static void free_keyring(struct keyring_entry entries[2])
{
	struct secret *bytes;
	memcpy(&bytes, &entries[0].bytes, sizeof(bytes));
	secret_free(bytes);
}

static int edit(const char *before, const char *to, bool with_ring, const char *nonce, struct secret **ret,
		struct error **err)
{
	_cleanup_secret_ text = secret_from(before, strlen(before));
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_(config_shape_freep) struct config_shape *shape = NULL;
	_cleanup_json_ json = NULL;
	struct keyring_entry entries[2];
	struct keyring ring;
	int rc = json_parse(to, strlen(to), "to", &json, err);
	if (rc == 0)
		rc = config_shape_from_json(json, &shape, err);
	if (rc == 0)
		rc = encryption_config_parse("f", text, &config, err);
	if (rc < 0)
		return rc;
	make_keyring(entries, &ring);
	rc = encryption_config_edit(config, shape, with_ring ? &ring : NULL, nonce, ret, err);
	free_keyring(entries);
	return rc;
}

static void test_edit(void **state)
{
	const struct edit_row *row = *state;
	_cleanup_secret_ after = NULL;
	_cleanup_error_ err = NULL;
	assert_ok(edit(row->before, row->to, true, "N", &after, &err), err);
	assert_string_equal(secret_text(after), row->after);
}

#define ANCHORED                                                                                 \
	HEAD "- resources: [secrets]\n  providers:\n  - aescbc: {keys: [&k {name: a, secret: " A \
	     "}]}\n  - identity: {}\n"

struct refusal_row {
	const char *name, *before, *to, *message;
};

static const struct refusal_row refusals[] = {
	{"an anchor on a key that goes", ANCHORED, TO(PLAIN),
	 "f:6:21: an anchor on a part that has to change; write the values out without it"},
	{"a tag on a list that changes", HEAD "- resources: [secrets]\n  providers: !!seq\n  - identity: {}\n",
	 TO(PLAIN "," CBC_B), "f:5:14: a tag on a part that has to change; write the values out without it"},
	{"an alias on a list that changes",
	 HEAD "- resources: [secrets]\n  providers: &p\n  - identity: {}\n- resources: [configmaps]\n  providers: *p\n",
	 "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" PLAIN
	 "]},{\"resources\":[\"configmaps\"],\"keys\":[" PLAIN "," CBC_B "]}]}",
	 "f:8:14: an alias on a part that has to change; write the values out without it"},
	{"a merge key on a provider that changes",
	 HEAD "- resources: [secrets]\n  providers:\n  - aescbc: &c {keys: [{name: a, secret: " A
	      "}]}\n- resources: [configmaps]\n"
	      "  providers:\n  - aescbc: {<<: *c}\n",
	 "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" CBC_A
	 "]},{\"resources\":[\"configmaps\"],\"keys\":[" CBC_A "," CBC_B "]}]}",
	 "f:9:14: a merge key on a part that has to change; write the fields out"},
	{"a key whose bytes nobody has", commented,
	 TO("{\"provider\":\"aescbc\",\"name\":\"c\",\"fingerprint\":\"000000000000\"}"),
	 "f: the bytes of key aescbc/c are neither in the file nor given; give the file that has them"},
	{"a key of another fingerprint", commented,
	 TO("{\"provider\":\"aescbc\",\"name\":\"a\",\"fingerprint\":\"000000000000\"}"),
	 "f: the bytes of key aescbc/a are neither in the file nor given; give the file that has them"},
	{"a target that kube-apiserver refuses", commented,
	 "{\"rules\":[{\"resources\":[\"secrets\",\"*.\"],\"keys\":[" CBC_A "," PLAIN "]}]}",
	 "f, as changed:6:24: a resource and a wildcard over it (line 6) in one list; remove one"},
	{"lines that end in CR",
	 "kind: EncryptionConfiguration\rapiVersion: apiserver.config.k8s.io/v1\rresources:\r- resources: [secrets]\r"
	 "  providers:\r  - identity: {}\r",
	 TO(PLAIN "," CBC_B), "f:1:1: lines that end in CR alone, NEL, LS or PS; save the file with LF or CRLF"},
	{"a list behind its name", HEAD "- resources: [secrets]\n  ? providers\n  : - identity: {}\n",
	 TO(PLAIN "," CBC_B), "f:6:7: a '-' behind other text; begin its line with it"},
};

static void test_refusal(void **state)
{
	const struct refusal_row *row = *state;
	struct secret *after = NULL;
	struct error *err = NULL;
	assert_error(edit(row->before, row->to, true, "N", &after, &err), err, ERROR_INPUT, row->message);
	assert_null(after);
}

static void test_nonces_and_keyrings_that_are_refused(void **state)
{
	(void)state;
	const char *nonces[] = {"", "a b", "a\nb: c", "\xc3\xbc",
				"0123456789012345678901234567890123456789012345678901234567890123x"};
	struct secret *after = NULL;
	struct error *err = NULL;
	for (size_t i = 0; i < ELEMENTS(nonces); i++)
		assert_error(edit(commented, TO(PLAIN), true, nonces[i], &after, &err), err, ERROR_INPUT,
			     "a nonce that is not 1 to 64 printable characters");
	assert_error(edit(commented, TO(CBC_B), false, "N", &after, &err), err, ERROR_INPUT,
		     "f: the bytes of key aescbc/b are neither in the file nor given; give the file that has them");
	assert_null(after);
}

/* An anchor on a part that stays as it is does no harm. */
static void test_untouched_anchor(void **state)
{
	(void)state;
	_cleanup_secret_ after = NULL;
	_cleanup_error_ err = NULL;
	assert_ok(edit(ANCHORED, TO(CBC_A "," PLAIN "," BOX_B), true, "N", &after, &err), err);
	assert_string_equal(secret_text(after), NONCE ANCHORED "  - secretbox: {keys: [{name: b, secret: " B "}]}\n");
}

#define JSON_FILE                                                                         \
	"{\"kind\":\"EncryptionConfiguration\",\"apiVersion\":\"apiserver.config.k8s.io/" \
	"v1\",\"resources\":[{\"resources\":[\"secrets\"],"                               \
	"\"providers\":[{\"identity\":{}}]}]}"

/* JSON stays JSON: the nonce is white space, and a new one takes the place of the old. */
static void test_json_nonce(void **state)
{
	(void)state;
	char frame[98], expected[512];
	_cleanup_secret_ first = NULL, *second = NULL;
	_cleanup_error_ err = NULL;
	memset(frame, ' ', 96);
	memcpy(frame + 96, "\n", 2);
	assert_ok(edit(JSON_FILE, TO(PLAIN), true, "!#", &first, &err), err);
	snprintf(expected, sizeof(expected), "%s\n%s \n   \n%s", JSON_FILE, frame, frame);
	assert_string_equal(secret_text(first), expected);
	assert_ok(edit(secret_text(first), TO(PLAIN), true, "\"", &second, &err), err);
	snprintf(expected, sizeof(expected), "%s\n%s  \n%s", JSON_FILE, frame, frame);
	assert_string_equal(secret_text(second), expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonces_and_keyrings_that_are_refused),
		cmocka_unit_test(test_untouched_anchor),
		cmocka_unit_test(test_json_nonce),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_edit, edits) +
	       RUN_ROWS(test_refusal, refusals);
}
