#include "test_support.h"

#include "shape_support.h"

/* --- the configurations that a path goes through --- */

struct made {
	const char *name;
	const char *from, *to;
	const char *want;
};
static const struct made made_rows[] = {
	{"a key by another", "secrets=a", "secrets=b", "secrets=a -> secrets=a,b -> secrets=b,a -> secrets=b"},
	{"the same again is no step", "secrets=a", "secrets=a", "secrets=a"},
	{"another provider", "secrets=a", "secrets=box:a",
	 "secrets=a -> secrets=a,box:a -> secrets=box:a,a -> secrets=box:a"},
	{"into KMS", "secrets=a", "secrets=kms:v", "secrets=a -> secrets=a,kms:v -> secrets=kms:v,a -> secrets=kms:v"},
	{"plaintext stays the last read key", "secrets=a,-", "secrets=b,-",
	 "secrets=a,- -> secrets=a,b,- -> secrets=b,a,- -> secrets=b,-"},
	{"a new key goes behind the write key, before old read keys", "secrets=a,c", "secrets=b",
	 "secrets=a,c -> secrets=a,b,c -> secrets=b,a,c -> secrets=b"},
	{"plaintext goes behind old read keys", "secrets=-,c", "secrets=k",
	 "secrets=-,c -> secrets=-,k,c -> secrets=k,c,- -> secrets=k"},
	{"half done already: the read key is there", "secrets=a,b", "secrets=b",
	 "secrets=a,b -> secrets=b,a -> secrets=b"},
	{"half done already: promoted", "secrets=b,a", "secrets=b", "secrets=b,a -> secrets=b"},
	{"the old key may stay", "secrets=a", "secrets=b,a", "secrets=a -> secrets=a,b -> secrets=b,a"},
	{"only a read key leaves", "secrets=a,b", "secrets=a", "secrets=a,b -> secrets=a"},
	{"another read key: their order is no step", "secrets=a,c", "secrets=a,b",
	 "secrets=a,c -> secrets=a,b,c -> secrets=a,b"},
	{"only the order of read keys", "secrets=a,b,c", "secrets=a,c,b", "secrets=a,b,c -> secrets=a,c,b"},
	{"only how rules are written", "secrets,configmaps=a", "secrets=a; configmaps=a",
	 "secrets,configmaps=a -> secrets=a; configmaps=a"},
	{"turning encryption on", "secrets=-", "secrets=k,-", "secrets=- -> secrets=-,k -> secrets=k,-"},
	{"turning it on and taking plaintext away", "secrets=-", "secrets=k",
	 "secrets=- -> secrets=-,k -> secrets=k,- -> secrets=k"},
	{"taking plaintext away", "secrets=k,-", "secrets=k", "secrets=k,- -> secrets=k"},
	{"decrypting on purpose", "secrets=k", "secrets=-", "secrets=k -> secrets=k,- -> secrets=-,k -> secrets=-"},
	{"decrypting, the key stays", "secrets=k,-", "secrets=-,k", "secrets=k,- -> secrets=-,k"},
	{"a resource that had no rule", "secrets=a", "secrets=a; configmaps=a",
	 "secrets=a -> secrets=a; configmaps=-,a -> secrets=a; configmaps=a,- -> secrets=a; configmaps=a"},
	{"a resource that gets a KMS by another name", "secrets=kms:v,-", "secrets=kms:v,-; configmaps=kms:w,-",
	 "secrets=kms:v,- -> secrets=kms:v,-; configmaps=-,kms:w -> secrets=kms:v,-; configmaps=kms:w,-"},
	{"a KMS of version 1 may be in two rules", "secrets=kms1:v,-", "secrets,configmaps=kms1:v,-",
	 "secrets=kms1:v,- -> secrets=kms1:v,-; configmaps=-,kms1:v -> secrets,configmaps=kms1:v,-"},
	{"no rule at all before", "", "secrets,configmaps=k,-", " -> secrets,configmaps=-,k -> secrets,configmaps=k,-"},
	{"a resource that joins a rule", "secrets=a", "secrets,configmaps=a,-",
	 "secrets=a -> secrets=a,-; configmaps=-,a -> secrets,configmaps=a,-"},
	{"a new rule that is plaintext only is no step before the last", "secrets=a", "secrets=a; configmaps=-",
	 "secrets=a -> secrets=a; configmaps=-"},
	{"two rules, one key each", "secrets=a; configmaps=c", "secrets=b; configmaps=d",
	 "secrets=a; configmaps=c -> secrets=a,b; configmaps=c,d -> secrets=b,a; configmaps=d,c -> secrets=b; "
	 "configmaps=d"},
	{"two rules, only one changes", "secrets=a; configmaps=c", "secrets=b; configmaps=c",
	 "secrets=a; configmaps=c -> secrets=a,b; configmaps=c -> secrets=b,a; configmaps=c -> secrets=b; "
	 "configmaps=c"},
	{"a key that stays in another rule", "secrets=a; configmaps=a", "secrets=b; configmaps=a",
	 "secrets=a; configmaps=a -> secrets=a,b; configmaps=a -> secrets=b,a; configmaps=a -> secrets=b; "
	 "configmaps=a"},
	{"two rules become one", "secrets=a; configmaps=c", "secrets,configmaps=b",
	 "secrets=a; configmaps=c -> secrets=a,b; configmaps=c,b -> secrets=b,a; configmaps=b,c -> "
	 "secrets,configmaps=b"},
	{"one rule becomes two", "secrets,configmaps=a", "secrets=b; configmaps=c",
	 "secrets,configmaps=a -> secrets=a,b; configmaps=a,c -> secrets=b,a; configmaps=c,a -> secrets=b; "
	 "configmaps=c"},
	{"of one rule only one gets another key", "secrets,configmaps,pods=a,-", "secrets=b,-; configmaps,pods=a,-",
	 "secrets,configmaps,pods=a,- -> secrets=a,b,-; configmaps,pods=a,- -> secrets=b,a,-; configmaps,pods=a,- -> "
	 "secrets=b,-; configmaps,pods=a,-"},
	{"and a KMS is in its rule alone", "secrets,configmaps=a", "configmaps=a; secrets=kms:v",
	 "secrets,configmaps=a -> secrets=a,kms:v; configmaps=a -> secrets=kms:v,a; configmaps=a -> "
	 "configmaps=a; secrets=kms:v"},
	{"each from its rule into the other", "secrets=a; configmaps=c", "secrets=c; configmaps=a",
	 "secrets=a; configmaps=c -> secrets=a,c; configmaps=c,a -> secrets=c,a; configmaps=a,c -> secrets=c; "
	 "configmaps=a"},
	{"rules that stay two are not joined", "secrets=a; configmaps=a", "secrets=b; configmaps=b",
	 "secrets=a; configmaps=a -> secrets=a,b; configmaps=a,b -> secrets=b,a; configmaps=b,a -> secrets=b; "
	 "configmaps=b"},
	{"two rules alike become one under a KMS", "secrets=a; pods=c; configmaps=a",
	 "secrets,configmaps=kms:v; pods=c",
	 "secrets=a; pods=c; configmaps=a -> secrets,configmaps=a,kms:v; pods=c -> secrets,configmaps=kms:v,a; pods=c "
	 "-> secrets,configmaps=kms:v; pods=c"},
	{"but for the order of read keys", "secrets=a,b,c; configmaps=a,c,b", "secrets,configmaps=kms:v",
	 "secrets=a,b,c; configmaps=a,c,b -> secrets,configmaps=a,kms:v,b,c -> secrets,configmaps=kms:v,a,b,c -> "
	 "secrets,configmaps=kms:v"},
	{"and two from one", "secrets,configmaps=kms:v", "secrets=b; configmaps=b",
	 "secrets,configmaps=kms:v -> secrets,configmaps=kms:v,b -> secrets,configmaps=b,kms:v -> secrets=b; "
	 "configmaps=b"},
	{"what joins the first of them comes before the wildcard, too", "secrets=a; *.apps=c; configmaps=a",
	 "secrets,deployments.apps=a; *.apps=c; configmaps=a",
	 "secrets=a; *.apps=c; configmaps=a -> secrets=a; deployments.apps=c,a; *.apps=c; configmaps=a -> "
	 "secrets=a; deployments.apps=a,c; *.apps=c; configmaps=a -> secrets,deployments.apps=a; *.apps=c; "
	 "configmaps=a"},
	{"a wildcard's key", "*.*=a", "*.*=b", "*.*=a -> *.*=a,b -> *.*=b,a -> *.*=b"},
	{"a rule before a wildcard", "secrets=a; *.*=c", "secrets=b; *.*=c",
	 "secrets=a; *.*=c -> secrets=a,b; *.*=c -> secrets=b,a; *.*=c -> secrets=b; *.*=c"},
	{"a wildcard takes a named resource in", "secrets=a", "*.=b",
	 "secrets=a -> secrets=a,b; *.=-,b -> secrets=b,a; *.=b,- -> *.=b"},
	{"a named resource leaves a wildcard's rule", "*.*=a", "secrets=b; *.*=a",
	 "*.*=a -> secrets=a,b; *.*=a -> secrets=b,a; *.*=a -> secrets=b; *.*=a"},
	{"and goes to a KMS", "*.*=a", "secrets=kms:v; *.*=a",
	 "*.*=a -> secrets=a,kms:v; *.*=a -> secrets=kms:v,a; *.*=a -> secrets=kms:v; *.*=a"},
	{"a name leaves a wildcard that is not the last rule", "*.apps=c; secrets=a",
	 "deployments.apps=kms:v; *.apps=c; secrets=a",
	 "*.apps=c; secrets=a -> deployments.apps=c,kms:v; *.apps=c; secrets=a -> deployments.apps=kms:v,c; *.apps=c; "
	 "secrets=a -> deployments.apps=kms:v; *.apps=c; secrets=a"},
	{"a KMS for a name behind a wildcard, and for one that the wildcard hid", "*.apps=c; secrets=c",
	 "secrets,deployments.apps=kms:v; *.apps=c",
	 "*.apps=c; secrets=c -> secrets,deployments.apps=c,kms:v; *.apps=c -> secrets,deployments.apps=kms:v,c; "
	 "*.apps=c -> secrets,deployments.apps=kms:v; *.apps=c"},
	{"one resource by two names", "events=a", "events.events.k8s.io=b",
	 "events=a -> events=a,b -> events=b,a -> events.events.k8s.io=b"},
	{"custom resources by group", "*.example.com=a", "widgets.example.com=b; *.example.com=a",
	 "*.example.com=a -> widgets.example.com=a,b; *.example.com=a -> widgets.example.com=b,a; *.example.com=a -> "
	 "widgets.example.com=b; *.example.com=a"},
};

/* kube-apiserver refuses a rule behind a wildcard that covers it. */
static bool hides_a_rule(const struct config_shape *shape)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t i = 0; i < shape->rules[r].resource_count; i++)
			if (config_shape_rule(shape, shape->rules[r].resources[i]) != &shape->rules[r])
				return true;
	return false;
}

static void goes_through(void **state)
{
	const struct made *row = *state;
	struct path *path = path_parse(row->from, row->to);
	_cleanup_free_ char *got = path_text(path);
	assert_string_equal(got, row->want);
	for (size_t step = 0; step < path->count; step++) {
		assert_int_equal(path_find(path, path->steps[step]), step);
		assert_false(hides_a_rule(path->steps[step]));
	}
	for (size_t step = 0; step + 1 < path->count; step++) {
		assert_true(path_step_readable(path, step));
		assert_false(path_step_drops_write_key(path, step));
		/* What lets promotion go without a gate. */
		assert_false(path_changes_write_key(path, step) && path_drops(path, step));
	}
	/* A server that must read its last configuration again (1.33) is asked about it, too. */
	size_t last = path->count - 1;
	assert_false(path_changes_write_key(path, last) || path_drops(path, last) || !path_step_readable(path, last));
	assert_false(path_step_drops_write_key(path, last));
	assert_false(path_loses(path, last, NULL, (struct key_name){.type = PROVIDER_AESCBC, .name = "a"}));
	path_free(path);
}

/* --- what is refused --- */

struct refused {
	const char *name;
	const char *from, *to;
	const char *message, *hint;
};
#define NO_RULE(resource)                                                                   \
	"the target configuration has no rule for " resource ", which the present one has", \
		"to decrypt " resource " on purpose, give it a rule whose first provider is identity: {}"
#define TWO_KEYS(key)                                         \
	"the key name " key " stands for two different keys", \
		"a stored value names its key by name alone: give the new key a new name"
#define OLD_BYTES(key)                                               \
	"the new key " key " is the bytes of aescbc/a: no rotation", \
		"give it bytes of its own: head -c 32 /dev/urandom | base64"
#define TWO_RULES(a, b) "kms/v would stand in the rules of " a " and of " b " for a while, which kube-apiserver refuses"
#define ANOTHER_NAME(resource)                                                                                \
	"in the target give " resource " a rule of its own, and there the plugin another name: its endpoint " \
	"may be the same"
#define TOGETHER "rotate twice: first to a target in which one rule has both, under another key, and then to this one"
static const struct refused refused_rows[] = {
	{"a resource is missing", "secrets=a; configmaps=c", "secrets=b", NO_RULE("configmaps")},
	{"one of a rule is missing", "secrets,configmaps=a", "secrets=b", NO_RULE("configmaps")},
	{"a wildcard is missing", "*.*=a", "secrets=b; *.=b", NO_RULE("*.*")},
	{"all is missing", "secrets=a", "", NO_RULE("secrets")},
	{"a name for other bytes", "secrets=a", "secrets=a!", TWO_KEYS("aescbc/a")},
	{"a name for other bytes, as a read key", "secrets=a", "secrets=b,a!", TWO_KEYS("aescbc/a")},
	{"a name for other bytes, in another rule", "secrets=a; configmaps=c", "secrets=a; configmaps=a!",
	 TWO_KEYS("aescbc/a")},
	{"a name twice in the target", "secrets=a", "secrets=b; configmaps=b!", TWO_KEYS("aescbc/b")},
	{"a new name for the old bytes", "secrets=a", "secrets=b~a", OLD_BYTES("aescbc/b")},
	{"another provider for the old bytes", "secrets=a", "secrets=box:b~a,a", OLD_BYTES("secretbox/b")},
	{"a KMS name for another plugin", "secrets=kms:v", "secrets=kms:v!", TWO_KEYS("kms/v")},
	{"a resource that joins a KMS", "secrets=kms:v,-", "secrets,configmaps=kms:v,-",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("configmaps")},
	{"two of which one was encrypted", "secrets=a,-", "secrets,configmaps=kms:v,-",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("configmaps")},
	{"two under keys of their own", "secrets=a; configmaps=c", "secrets,configmaps=kms:v",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("configmaps")},
	{"two with read keys of their own", "secrets=a,b; configmaps=a,c", "secrets,configmaps=kms:v",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("configmaps")},
	{"a KMS that goes from one to the other", "secrets=kms:v; configmaps=a", "secrets=b; configmaps=kms:v",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("configmaps")},
	{"from the second to the first", "secrets=a; configmaps=kms:v", "secrets=kms:v; configmaps=b",
	 TWO_RULES("secrets", "configmaps"), ANOTHER_NAME("secrets")},
	{"one of two leaves a KMS", "secrets,configmaps=kms:v", "secrets=kms:v; configmaps=b",
	 TWO_RULES("secrets", "configmaps"), TOGETHER},
	{"two leave a KMS for two keys", "secrets,configmaps=kms:v", "secrets=b; configmaps=c",
	 TWO_RULES("secrets", "configmaps"), TOGETHER},
	{"a name and the wildcard behind it", "secrets=a; *.*=a", "*.*=kms:v", TWO_RULES("secrets", "*.*"),
	 ANOTHER_NAME("*.*")},
	{"a wildcard and what it did not cover", "*.apps=a; secrets=a", "*.apps,secrets=kms:v",
	 TWO_RULES("*.apps", "secrets"), ANOTHER_NAME("secrets")},
};

static void is_refused(void **state)
{
	const struct refused *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *from = shape_parse(row->from), *to = shape_parse(row->to);
	struct path *path = NULL;
	struct error *err = NULL;
	int rc = path_make(from, to, &path, &err);
	assert_null(path);
	assert_string_equal(error_hint(err), row->hint);
	assert_error(rc, err, ERROR_REFUSED, row->message);
}

/* --- somebody else's path --- */

struct told {
	const char *name;
	const char *steps[5];
	bool lawful;
};
static const struct told told_rows[] = {
	{"a key by another", {"secrets=a,-", "secrets=a,b,-", "secrets=b,a,-", "secrets=b,-"}, true},
	{"one configuration alone", {"secrets=a"}, true},
	{"turning encryption on", {"secrets=-", "secrets=-,k", "secrets=k,-"}, true},
	{"plaintext stays where it was",
	 {"secrets=a; configmaps=-", "secrets=a,b; configmaps=-", "secrets=b,a; configmaps=-",
	  "secrets=b; configmaps=-"},
	 true},
	{"a wildcard and what is taken out of it, both encrypted",
	 {"*.*=a", "secrets=a,b; *.*=a", "secrets=b,a; *.*=a", "secrets=b; *.*=a"},
	 true},
	{"a KMS provider that was there", {"secrets=kms:v,a", "secrets=kms:v"}, true},
	{"a step is left out", {"secrets=a", "secrets=b,a", "secrets=b"}, false},
	{"a step too many", {"secrets=a", "secrets=a,b", "secrets=a,b", "secrets=b,a", "secrets=b"}, false},
	{"the same twice", {"secrets=a", "secrets=a"}, false},
	{"as many steps, and another one", {"secrets=a", "secrets=b,a", "secrets=a,b", "secrets=b"}, false},
	{"a key leaves where another comes", {"secrets=a", "secrets=b"}, false},
	{"a resource is lost", {"secrets,configmaps=a", "secrets=a"}, false},
	{"plaintext in the end", {"secrets=a,-", "secrets=-,a"}, false},
	{"plaintext for one of two",
	 {"secrets=a; configmaps=a", "secrets=a; configmaps=a,-", "secrets=a; configmaps=-,a",
	  "secrets=a; configmaps=-"},
	 false},
	{"plaintext out of a wildcard",
	 {"*.*=a", "secrets=a,-; *.*=a", "secrets=-,a; *.*=a", "secrets=-; *.*=a"},
	 false},
	{"into a KMS, which its plugins have to show",
	 {"secrets=a", "secrets=a,kms:v", "secrets=kms:v,a", "secrets=kms:v"},
	 true},
	{"a KMS as a read key", {"secrets=a", "secrets=a,kms:v"}, true},
};

static void is_judged(void **state)
{
	const struct told *row = *state;
	struct config_shape *steps[5];
	size_t count = 0;
	for (; count < 5 && row->steps[count]; count++)
		steps[count] = shape_parse(row->steps[count]);
	_cleanup_(path_freep) struct path *path = path_of_steps(steps, count);
	for (size_t i = 0; i < count; i++)
		config_shape_free(steps[i]);
	assert_int_equal(path_is_lawful(path), row->lawful);
}

static void the_same_name_in_two_provider_types_is_two_keys(void **state)
{
	(void)state;
	path_free(path_parse("secrets=a", "secrets=gcm:a!"));
}

static void what_is_wrong_in_the_present_one_can_be_left(void **state)
{
	(void)state;
	path_free(path_parse("secrets=a; configmaps=a!", "secrets=b; configmaps=b"));
}

/* --- what a step loses --- */

struct loses {
	const char *name;
	const char *from, *to; /* a step, written down */
	const char *resource;  /* NULL: outside the map of resources */
	const char *key;
	bool want;
};
static const struct loses loses_rows[] = {
	{"the leaving key, in its resource", "secrets=b,a", "secrets=b", "secrets", "a", true},
	{"the leaving key, in a resource of no rule", "secrets=b,a", "secrets=b", "pods", "a", true},
	{"the leaving key, outside the map", "secrets=b,a", "secrets=b", NULL, "a", true},
	{"the key that stays", "secrets=b,a", "secrets=b", "secrets", "b", false},
	{"the key that stays, outside the map", "secrets=b,a", "secrets=b", NULL, "b", false},
	{"a key that was never there", "secrets=b,a", "secrets=b", "secrets", "x", false},
	{"the same name in another provider type", "secrets=b,a", "secrets=b", "secrets", "gcm:a", false},
	{"nothing by promotion", "secrets=a,b", "secrets=b,a", "secrets", "a", false},
	{"nothing by a new read key", "secrets=a", "secrets=a,b", "secrets", "a", false},
	{"stays in another rule: its resource", "secrets=b,a; configmaps=a", "secrets=b; configmaps=a", "secrets", "a",
	 true},
	{"stays in another rule: that one's resource", "secrets=b,a; configmaps=a", "secrets=b; configmaps=a",
	 "configmaps", "a", false},
	{"stays in another rule: a resource of none", "secrets=b,a; configmaps=a", "secrets=b; configmaps=a", "pods",
	 "a", false},
	{"stays in another rule: outside the map", "secrets=b,a; configmaps=a", "secrets=b; configmaps=a", NULL, "a",
	 true},
	{"leaves both rules", "secrets=b,a; configmaps=b,a", "secrets=b; configmaps=b", "configmaps", "a", true},
	{"plaintext, in its resource", "secrets=k,-", "secrets=k", "secrets", "-", true},
	{"plaintext, in a resource of no rule", "secrets=k,-", "secrets=k", "pods", "-", false},
	{"plaintext, outside the map", "secrets=k,-", "secrets=k", NULL, "-", false},
	{"plaintext, when a rule without it appears", "secrets=k", "secrets=k; configmaps=k", "configmaps", "-", true},
	{"plaintext stays where a rule appears with it", "secrets=k", "secrets=k; configmaps=k,-", "configmaps", "-",
	 false},
	{"by a wildcard's rule", "*.*=b,a", "*.*=b", "widgets.example.com", "a", true},
	{"a named rule before the wildcard's keeps it", "secrets=a; *.*=b,a", "secrets=a; *.*=b", "secrets", "a",
	 false},
	{"a named rule before the wildcard's: others lose it", "secrets=a; *.*=b,a", "secrets=a; *.*=b", "pods", "a",
	 true},
	{"a wildcard of the core group covers no other", "*.=b,a; *.apps=a", "*.=b; *.apps=a", "deployments.apps", "a",
	 false},
};

static struct key_name name_of(const struct config_key *key)
{
	return (struct key_name){
		.type = key->type, .kms_version = key->kms_version, .name = key->name, .key_id = key->kms_key_id};
}

static void loses(void **state)
{
	const struct loses *row = *state;
	struct config_shape *steps[] = {shape_parse(row->from), shape_parse(row->to)};
	const struct path path = {.steps = steps, .count = 2};
	struct config_key key = shape_parse_key(row->key);
	assert_int_equal(path_loses(&path, 0, row->resource, name_of(&key)), row->want);
	free(key.name);
	free(key.kms_endpoint);
	free(key.kms_key_id);
	config_shape_free(steps[0]);
	config_shape_free(steps[1]);
}

/* --- what a step is --- */

struct kind {
	const char *name;
	const char *from, *to;
	bool changes_write_key, drops, readable, drops_write_key;
};
static const struct kind kind_rows[] = {
	{"a new read key", "secrets=a", "secrets=a,b", false, false, true, false},
	{"promotion", "secrets=a,b", "secrets=b,a", true, false, true, false},
	{"a read key leaves", "secrets=b,a", "secrets=b", false, true, true, false},
	{"plaintext leaves", "secrets=b,-", "secrets=b", false, true, true, false},
	{"a key leaves one rule and stays in another", "secrets=b,a; configmaps=a", "secrets=b; configmaps=a", false,
	 true, true, false},
	{"a write key by another at once", "secrets=a", "secrets=b", true, true, false, true},
	{"promotion of a key that was not read before", "secrets=a", "secrets=b,a", true, false, false, false},
	{"promotion in which the old key leaves", "secrets=a,b", "secrets=b", true, true, false, true},
	{"a resource that had no rule, at once", "secrets=a", "secrets=a; configmaps=a", true, true, false, true},
	{"a resource that had no rule, as it should be", "secrets=a", "secrets=a; configmaps=-,a", false, false, true,
	 false},
	{"the same key with other bytes", "secrets=a", "secrets=a!", true, true, false, true},
	{"a named resource moves out of a wildcard's rule", "*.*=a,b", "secrets=b,a; *.*=a,b", true, false, true,
	 false},
	{"only the order of read keys", "secrets=a,b,c", "secrets=a,c,b", false, false, true, false},
};

static void is_a(void **state)
{
	const struct kind *row = *state;
	struct config_shape *steps[] = {shape_parse(row->from), shape_parse(row->to)};
	const struct path path = {.steps = steps, .count = 2};
	assert_int_equal(path_changes_write_key(&path, 0), row->changes_write_key);
	assert_int_equal(path_drops(&path, 0), row->drops);
	assert_int_equal(path_step_readable(&path, 0), row->readable);
	assert_int_equal(path_step_drops_write_key(&path, 0), row->drops_write_key);
	config_shape_free(steps[0]);
	config_shape_free(steps[1]);
}

/* --- one configuration --- */

struct access {
	const char *name;
	const char *shape, *resource, *key;
	bool reads, writes;
};
static const struct access access_rows[] = {
	{"the write key", "secrets=a,b", "secrets", "a", true, true},
	{"a read key", "secrets=a,b", "secrets", "b", true, false},
	{"no key of this rule", "secrets=a; configmaps=c", "secrets", "c", false, false},
	{"plaintext where there is no rule", "secrets=a", "pods", "-", true, true},
	{"a key where there is no rule", "secrets=a", "pods", "a", false, false},
	{"plaintext where a rule lacks it", "secrets=a", "secrets", "-", false, false},
	{"by a wildcard", "*.*=a", "widgets.example.com", "a", true, true},
	{"another provider type of this name", "secrets=a", "secrets", "gcm:a", false, false},
	{"a rule before the wildcard", "secrets=b; *.*=a", "secrets", "a", false, false},
	{"a KMS provider", "secrets=kms:a", "secrets", "kms:a", true, true},
	{"under the key ID that its plugin names", "secrets=kms:a@2", "secrets", "kms:a@2", true, true},
	{"under another key ID", "secrets=kms:a@2", "secrets", "kms:a@1", true, false},
	{"under one that is not known", "secrets=kms:a@2", "secrets", "kms:a", true, false},
	{"under any, where it is not followed", "secrets=kms:a", "secrets", "kms:a@1", true, true},
	{"another version of a KMS provider of this name", "secrets=kms:a", "secrets", "kms1:a", false, false},
};

static void reads_and_writes(void **state)
{
	const struct access *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse(row->shape);
	struct config_key key = shape_parse_key(row->key);
	assert_int_equal(shape_reads(shape, row->resource, name_of(&key)), row->reads);
	assert_int_equal(shape_writes(shape, row->resource, name_of(&key)), row->writes);
	free(key.name);
	free(key.kms_endpoint);
	free(key.kms_key_id);
}

static void only_one_configuration_follows(void **state)
{
	struct config_shape *steps[] = {shape_parse("configmaps=a; secrets=kms:v@1,a"), shape_parse("secrets=kms:v@1")};
	(void)state;
	assert_true(path_follows_kms(&(struct path){.steps = steps, .count = 1}));
	assert_false(path_follows_kms(&(struct path){.steps = steps, .count = 2}));
	config_shape_free(steps[0]);
	steps[0] = shape_parse("secrets=a,kms:v@1; configmaps=kms:w");
	assert_false(path_follows_kms(&(struct path){.steps = steps, .count = 1}));
	config_shape_free(steps[0]);
	config_shape_free(steps[1]);
}

static void what_a_path_brings_of_kms(void **state)
{
	(void)state;
	_cleanup_(path_freep) struct path *path = path_parse("secrets=a,kms:w", "secrets=kms:v,kms:w");
	const struct config_rule *last = &path->steps[path->count - 1]->rules[0];
	assert_int_equal(path->count, 4);
	assert_false(path_brings_any_kms(path, 0));
	for (size_t step = 1; step < path->count; step++)
		assert_true(path_brings_any_kms(path, step));
	assert_true(path_brings_kms(path, 1, &last->keys[0]));
	assert_false(path_brings_kms(path, 0, &last->keys[0])); /* it has not got it yet */
	assert_false(path_brings_kms(path, 1, &last->keys[1])); /* it was there */
	assert_false(path_brings_kms(path, 1, &path->steps[0]->rules[0].keys[0]));
	/* Of one that has only read until now nobody knows whether all hold the same. */
	_cleanup_(path_freep) struct path *promoted = path_parse("secrets=a,kms:w", "secrets=kms:w,a");
	const struct config_key *plugin = &promoted->steps[1]->rules[0].keys[0];
	assert_string_equal(plugin->name, "w");
	assert_true(path_brings_kms(promoted, 1, plugin));
	assert_false(path_brings_kms(promoted, 0, plugin));
	_cleanup_(path_freep) struct path *instead = path_parse("secrets=kms:w,kms:v", "secrets=kms:v,kms:w");
	assert_true(path_brings_kms(instead, 1, &instead->steps[1]->rules[0].keys[0]));
	struct config_shape *steps[] = {shape_parse("secrets=kms1:w,kms:w"), shape_parse("secrets=kms:w,kms1:w")};
	_cleanup_(path_freep) struct path *renewed = path_of_steps(steps, ELEMENTS(steps));
	assert_true(path_brings_kms(renewed, 1, &steps[1]->rules[0].keys[0]));
	for (size_t i = 0; i < ELEMENTS(steps); i++)
		config_shape_free(steps[i]);
	_cleanup_(path_freep) struct path *left = path_parse("secrets=kms:w,a", "secrets=a");
	for (size_t step = 0; step < left->count; step++)
		assert_false(path_brings_any_kms(left, step));
}

static void the_key_of_before(void **state)
{
	static const struct {
		const char *key;
		bool needed;
	} rows[] = {{"kms:v@1", true},  {"kms:v@2", false}, {"kms:w@2", true},   {"kms:w@1", false}, {"kms:v", false},
		    {"kms:r@1", false}, {"kms:x@1", false}, {"kms1:v@1", false}, {"v", false}};
	(void)state;
	_cleanup_(config_shape_freep) struct config_shape *shape =
		shape_parse("secrets=kms:v@2,kms:r; configmaps=kms:w@1; pods=kms:x");
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct config_key key = shape_parse_key(rows[i].key);
		assert_int_equal(shape_needs_key_of_before(shape, name_of(&key)), rows[i].needed);
		config_key_clear(&key);
	}
}

static void outside_the_map_any_rule_counts(void **state)
{
	(void)state;
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse("secrets=a; configmaps=c,-");
	assert_true(shape_reads(shape, NULL, (struct key_name){.type = PROVIDER_AESCBC, .name = "c"}));
	assert_true(shape_reads(shape, NULL, (struct key_name){.type = PROVIDER_IDENTITY}));
	assert_false(shape_reads(shape, NULL, (struct key_name){.type = PROVIDER_AESCBC, .name = "x"}));
}

static void a_configuration_that_is_no_step_is_not_found(void **state)
{
	(void)state;
	struct path *path = path_parse("secrets=a", "secrets=b");
	static const char *const others[] = {"secrets=a,b,-", "secrets=x", "", "configmaps=a", "secrets=a!"};
	for (size_t i = 0; i < ELEMENTS(others); i++) {
		_cleanup_(config_shape_freep) struct config_shape *other = shape_parse(others[i]);
		assert_int_equal(path_find(path, other), -1);
	}
	path_free(path);
}

static void freeing_nothing_is_fine(void **state)
{
	(void)state;
	path_free(NULL);
}

/* --- the way back --- */

struct back {
	const char *name;
	const char *from, *to;
	size_t reached;
	bool promote_again;
	const char *want; /* NULL: refused */
};
static const struct back back_rows[] = {
	{"nothing was begun", "secrets=a", "secrets=b", 0, false, "secrets=a"},
	{"the new key only reads", "secrets=a", "secrets=b", 1, false, "secrets=a,b -> secrets=a"},
	{"the new key only reads, asked for more", "secrets=a", "secrets=b", 1, true, "secrets=a,b -> secrets=a"},
	{"the new key writes", "secrets=a", "secrets=b", 2, false, NULL},
	{"the new key writes, the old one is promoted again", "secrets=a", "secrets=b", 2, true,
	 "secrets=b,a -> secrets=a,b -> secrets=a"},
	{"the old key has left", "secrets=a", "secrets=b", 3, true, NULL},
	{"the old key has left, not asked", "secrets=a", "secrets=b", 3, false, NULL},
	{"encryption is being turned on", "secrets=-", "secrets=k,-", 1, false, "secrets=-,k -> secrets=-"},
	{"encryption is on", "secrets=-", "secrets=k,-", 2, true, NULL},
	{"encryption of one more resource is on", "secrets=a", "secrets=b; configmaps=b,-", 2, true, NULL},
	{"a read key has left", "secrets=a,c", "secrets=a", 1, true, NULL},
};

static void goes_back(void **state)
{
	const struct back *row = *state;
	struct path *path = path_parse(row->from, row->to), *back = NULL;
	struct error *err = NULL;
	int rc = path_abort(path, row->reached, row->promote_again, &back, &err);
	path_free(path);
	assert_int_equal(error_code(err), row->want ? ERROR_NONE : ERROR_REFUSED);
	error_clear(&err);
	if (!row->want) {
		assert_int_equal(rc, -ERROR_REFUSED);
		assert_null(back);
		return;
	}
	assert_int_equal(rc, 0);
	_cleanup_free_ char *got = path_text(back);
	assert_string_equal(got, row->want);
	for (size_t step = 0; step + 1 < back->count; step++)
		assert_true(path_step_readable(back, step));
	path_free(back);
}

static void the_way_back_names_the_other_one(void **state)
{
	(void)state;
	struct path *path = path_parse("secrets=a", "secrets=b"), *back = NULL;
	struct error *err = NULL;
	int rc = path_abort(path, 2, false, &back, &err);
	path_free(path);
	assert_string_equal(error_hint(err), "go forward, or let the old key be promoted again");
	assert_error(rc, err, ERROR_REFUSED,
		     "values may be under the new key already: it cannot just be taken away again");
}

/* Of the steps [a] [a,b] [b,a] [b]. */
struct pair {
	const char *name;
	size_t a, b;
	bool keeps, alike, readable;
};
static const struct pair pair_rows[] = {
	{"[a] to itself", 0, 0, true, true, true},   {"[a] to [a,b]", 0, 1, true, true, true},
	{"[a,b] to [a]", 1, 0, false, true, true},   {"[a] to [b,a]", 0, 2, true, false, false},
	{"[a,b] to [b,a]", 1, 2, true, false, true}, {"[b,a] to [a,b]", 2, 1, true, false, true},
	{"[b,a] to [b]", 2, 3, false, true, true},   {"[b] to [b,a]", 3, 2, true, true, true},
	{"[b] to [a,b]", 3, 1, true, false, false},  {"[a] to [b]", 0, 3, false, false, false},
};

static void compares_any_two(void **state)
{
	const struct pair *row = *state;
	struct path *path = path_parse("secrets=a", "secrets=b");
	assert_int_equal(path_keeps_keys(path, row->a, row->b), row->keeps);
	assert_int_equal(path_writes_alike(path, row->a, row->b), row->alike);
	assert_int_equal(path_readable_between(path, row->a, row->b), row->readable);
	path_free(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_name_in_two_provider_types_is_two_keys),
		cmocka_unit_test(what_is_wrong_in_the_present_one_can_be_left),
		cmocka_unit_test(only_one_configuration_follows),
		cmocka_unit_test(what_a_path_brings_of_kms),
		cmocka_unit_test(the_key_of_before),
		cmocka_unit_test(outside_the_map_any_rule_counts),
		cmocka_unit_test(a_configuration_that_is_no_step_is_not_found),
		cmocka_unit_test(freeing_nothing_is_fine),
		cmocka_unit_test(the_way_back_names_the_other_one),
	};
	return RUN_ROWS(goes_through, made_rows) + RUN_ROWS(is_refused, refused_rows) + RUN_ROWS(is_judged, told_rows) +
	       RUN_ROWS(loses, loses_rows) + RUN_ROWS(is_a, kind_rows) + RUN_ROWS(reads_and_writes, access_rows) +
	       RUN_ROWS(goes_back, back_rows) + RUN_ROWS(compares_any_two, pair_rows) +
	       cmocka_run_group_tests(tests, NULL, NULL);
}
