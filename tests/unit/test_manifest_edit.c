/* One annotation of a manifest: what becomes of texts as people and tools write them. */
#include "base/secret.h"
#include "base/text.h"
#include "format/manifest_edit.h"
#include "test_support.h"

#define NAME "kube-rekey.dev/replaces-process"
#define REST "spec:\n  containers: [] # none\n"
#define HEAD "# ours\napiVersion: v1\nkind: Pod\n"

struct row {
	const char *name, *before, *after; /* after NULL: refused */
};
static const struct row rows[] = {
	{"among others", HEAD "metadata:\n  annotations:\n    # why\n    a: b\n  name: x\n" REST,
	 HEAD "metadata:\n  annotations:\n    " NAME ": \"7\"\n    # why\n    a: b\n  name: x\n" REST},
	{"said before", HEAD "metadata:\n  annotations:\n    a: b\n    " NAME ": \"1\" # old\n" REST,
	 HEAD "metadata:\n  annotations:\n    a: b\n    " NAME ": \"7\" # old\n" REST},
	{"said before, quoted otherwise", HEAD "metadata:\n  annotations:\n    '" NAME "': '1'\n" REST,
	 HEAD "metadata:\n  annotations:\n    '" NAME "': \"7\"\n" REST},
	{"said before as a number", HEAD "metadata:\n  annotations:\n    " NAME ": 7\n" REST,
	 HEAD "metadata:\n  annotations:\n    " NAME ": \"7\"\n" REST},
	{"no annotations yet", HEAD "metadata: # here\n  # the name\n  name: x\n  labels: {a: b}\n" REST,
	 HEAD "metadata: # here\n  annotations:\n    " NAME
	      ": \"7\"\n  # the name\n  name: x\n  labels: {a: b}\n" REST},
	{"four blanks, and CRLF", "kind: Pod\r\nmetadata:\r\n    name: x\r\n",
	 "kind: Pod\r\nmetadata:\r\n    annotations:\r\n      " NAME ": \"7\"\r\n    name: x\r\n"},
	{"annotations in braces", HEAD "metadata:\n  annotations: {a: b}\n" REST,
	 HEAD "metadata:\n  annotations: {\"" NAME "\": \"7\", a: b}\n" REST},
	{"empty braces", HEAD "metadata:\n  annotations: {}\n" REST,
	 HEAD "metadata:\n  annotations: {\"" NAME "\": \"7\"}\n" REST},
	{"JSON", "{\"kind\": \"Pod\", \"metadata\": {\"name\": \"x\"}}\n",
	 "{\"kind\": \"Pod\", \"metadata\": {\"annotations\": {\"" NAME "\": \"7\"}, \"name\": \"x\"}}\n"},
	{"an umlaut before", "# \xc3\xbc\xc3\xbc\nkind: Pod\nmetadata:\n  name: x\n",
	 "# \xc3\xbc\xc3\xbc\nkind: Pod\nmetadata:\n  annotations:\n    " NAME ": \"7\"\n  name: x\n"},
	{"no line end", "kind: Pod\nmetadata:\n  name: x",
	 "kind: Pod\nmetadata:\n  annotations:\n    " NAME ": \"7\"\n  name: x"},
	{"the name of the mapping in a comment and in the spec",
	 "kind: Pod # metadata:\nspec:\n  metadata:\n    name: y\nmetadata:\n  name: x\n",
	 "kind: Pod # metadata:\nspec:\n  metadata:\n    name: y\nmetadata:\n  annotations:\n    " NAME
	 ": \"7\"\n  name: x\n"},

	{"no Pod", "kind: Deployment\nmetadata:\n  name: x\n", NULL},
	{"no metadata", "kind: Pod\nspec: {}\n", NULL},
	{"empty metadata", "kind: Pod\nmetadata: {}\n", NULL},
	{"metadata twice", "kind: Pod\nmetadata:\n  name: x\nmetadata:\n  name: y\n", NULL},
	{"annotations of no value", HEAD "metadata:\n  annotations:\n  name: x\n" REST, NULL},
	{"annotations twice", HEAD "metadata:\n  annotations: {a: b}\n  annotations: {a: b}\n" REST, NULL},
	{"annotations by an alias", "x: &a {c: d}\nkind: Pod\nmetadata:\n  annotations: *a\n  name: x\n", NULL},
	{"annotations that others are an alias of", "kind: Pod\nmetadata:\n  annotations: &a {c: d}\n  labels: *a\n",
	 NULL},
	{"metadata merged", "x: &a {c: d}\nkind: Pod\nmetadata:\n  <<: *a\n  name: x\n", NULL},
	{"said twice", HEAD "metadata:\n  annotations:\n    " NAME ": \"1\"\n    " NAME ": \"2\"\n" REST, NULL},
	{"said as a list", HEAD "metadata:\n  annotations:\n    " NAME ": [1]\n" REST, NULL},
	{"said as nothing", HEAD "metadata:\n  annotations:\n    " NAME ":\n" REST, NULL},
	{"two documents", "kind: Pod\nmetadata:\n  name: x\n---\nkind: Pod\n", NULL},
	{"CR alone", "kind: Pod\rmetadata:\r  name: x\r", NULL},
	{"no YAML", "kind: [\n", NULL},
};

static void test_annotate(void **state)
{
	const struct row *row = *state;
	_cleanup_secret_ before = secret_from(row->before, strlen(row->before));
	_cleanup_secret_ after = NULL;
	_cleanup_secret_ again = NULL;
	_cleanup_free_ char *value = NULL;
	struct error *err = NULL;
	int rc = manifest_annotate("m.yaml", before, NAME, "7", &after, &err);
	if (!row->after) {
		assert_int_equal(rc, -ERROR_INPUT);
		assert_true(text_starts(error_message(err), "m.yaml"));
		assert_null(after);
		error_free(err);
		return;
	}
	assert_ok(rc, err);
	assert_string_equal(secret_text(after), row->after);
	/* Again it changes nothing; and what was written is read. */
	assert_ok(manifest_annotate("m.yaml", after, NAME, "7", &again, &err), err);
	assert_string_equal(secret_text(again), row->after);
	assert_ok(manifest_annotation("m.yaml", after, NAME, &value, &err), err);
	assert_string_equal(value, "7");
}

static void test_none(void **state)
{
	static const char text[] = "kind: Pod\nmetadata:\n  annotations: {a: b}\n";
	_cleanup_secret_ pod = secret_from(text, strlen(text));
	_cleanup_free_ char *value = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(manifest_annotation("m.yaml", pod, NAME, &value, &err), err);
	assert_null(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_none)};
	int failed = RUN_ROWS(test_annotate, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
