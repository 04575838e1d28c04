/* Files that somebody else owns. Where they lie is part of the answer, so the test looks from a root of its own. */
#include "test_folder.h"

#include <fcntl.h>
#include <sched.h>

#include "base/file.h"
#include "engine/target.h"

static int outside = -1; /* the root there was */
static bool may_enter;
static bool inside; /* false: this machine does not allow it, and the tests skip */

static int enter(void **state)
{
	if (make_folder(state) < 0)
		return -1;
	outside = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (outside < 0)
		return -1;
	may_enter = may_enter || geteuid() == 0 || unshare(CLONE_NEWUSER) == 0;
	inside = may_enter && chroot(folder) == 0;
	return inside ? chdir("/") : 0;
}

static int leave(void **state)
{
	if (inside && (fchdir(outside) < 0 || chroot(".") < 0))
		return -1;
	close(outside);
	return remove_folder(state);
}

static void put(const char *path)
{
	_cleanup_free_ char *parent = xstrdup(path);
	for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (!path_exists(parent))
			assert_int_equal(mkdir(parent, 0700), 0);
		*slash = '/';
	}
	put_file(path, "kind: EncryptionConfiguration\n");
}

static void expect(const char *path, const char *real, const char *owner)
{
	_cleanup_error_ err = NULL;
	struct target *target = NULL;
	int rc = target_file(path, &target, &err);
	if (!owner) {
		assert_ok(rc, err);
		assert_false(target->manual);
		assert_string_equal(target->path, real);
		target_free(target);
		return;
	}
	_cleanup_free_ char *words = xasprintf("%s belongs to %s, which writes it itself", real, owner);
	_cleanup_free_ char *hint = xasprintf("let %s roll it out: kube-rekey rotate --target manual --out DIR", owner);
	assert_null(target);
	assert_string_equal(error_hint(err), hint);
	assert_error(rc, err, ERROR_REFUSED, words);
}

static void test_owners(void **state)
{
	static const struct {
		const char *path, *owner; /* owner NULL: nobody */
	} rows[] = {
		{"/var/lib/rancher/k3s/server/cred/encryption-config.json", "k3s"},
		{"/var/lib/rancher/rke2/server/cred/encryption-config.json", "RKE2"},
		{"/var/lib/rancher/other/encryption-config.json", "Rancher"},
		{"/system/secrets/kubernetes/kube-apiserver/encryptionconfig.yaml", "Talos"},
		{"/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7/secrets/encryption-config/"
		 "encryption-config",
		 "OpenShift"},
		{"/srv/kubernetes/kube-apiserver/encryptionconfig.yaml", "kOps"},
		{"/etc/kubernetes/encryption/config.yaml", NULL},
		{"/var/lib/rancher-of-mine/config.yaml", NULL},
		{"/srv/kubernetes/kube-apiserver.yaml", NULL},
		{"/srv/var/lib/rancher/k3s/config.yaml", NULL},
	};
	(void)state;
	if (!inside)
		skip();
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		put(rows[i].path);
		expect(rows[i].path, rows[i].path, rows[i].owner);
	}
}

/* A link hides nobody's file, and one from there is not theirs. */
static void test_links(void **state)
{
	static const char theirs[] = "/var/lib/rancher/k3s/server/cred/encryption-config.json";
	static const char ours[] = "/etc/kubernetes/encryption/config.yaml";
	(void)state;
	if (!inside)
		skip();
	put(theirs);
	put(ours);
	assert_int_equal(symlink(theirs, "/etc/kubernetes/enc.yaml"), 0);
	expect("/etc/kubernetes/enc.yaml", theirs, "k3s");
	assert_int_equal(symlink(ours, "/var/lib/rancher/enc.yaml"), 0);
	expect("/var/lib/rancher/enc.yaml", ours, NULL);
	assert_int_equal(chdir("/var/lib/rancher/k3s"), 0);
	expect("server/cred/../cred/encryption-config.json", theirs, "k3s");
}

static void test_none(void **state)
{
	_cleanup_error_ err = NULL;
	struct target *target = NULL;
	(void)state;
	if (!inside)
		skip();
	int rc = target_file("/no/such.yaml", &target, &err);
	assert_int_equal(rc, -ERROR_NOT_FOUND);
	assert_null(target);
}

/* A process that died while it wiped what it had put into --out. */
static void test_half_removed(void **state)
{
	static const char config[] =
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
		"  - resources: [secrets]\n    providers: [{identity: {}}]\n";
	_cleanup_error_ err = NULL;
	_cleanup_(target_freep) struct target *target = NULL;
	struct target_content content = {0};
	(void)state;
	put_file(in_folder("config.yaml"), config);
	assert_int_equal(mkdir(in_folder("out"), 0700), 0);
	assert_ok(target_manual(in_folder("config.yaml"), in_folder("out"), NULL, NULL, in_folder("state"), &target,
				&err),
		  err);
	put_file(in_folder("out/config.yaml"), config);
	assert_false(target_is_cleared(target));
	assert_int_equal(rename(in_folder("out/config.yaml"), in_folder("out/.config.yaml.kube-rekey.tmp")), 0);
	assert_true(target_is_cleared(target));
	assert_ok(target_read(target, &content, &err), err);
	assert_string_equal(secret_text(content.text), config);
	target_content_free(&content);
	assert_ok(target_clean(target, false, &err), err);
	assert_false(path_exists(in_folder("out/.config.yaml.kube-rekey.tmp")));
}

#define inside_test(fn) cmocka_unit_test_setup_teardown(fn, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		inside_test(test_owners),
		inside_test(test_links),
		inside_test(test_none),
		folder_test(test_half_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
