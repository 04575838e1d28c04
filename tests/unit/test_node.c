#include "test_folder.h"
#include <errno.h>
#include <sys/syscall.h>
#include "base/clock.h"
#include "base/text.h"
#include "engine/node_flags.h"

/* As kubeadm writes it, with an encryption file of the administrator's. */
#define KUBEADM_HEAD                                             \
	"apiVersion: v1\n"                                       \
	"kind: Pod\n"                                            \
	"metadata:\n"                                            \
	"  labels:\n    component: kube-apiserver\n"             \
	"  name: kube-apiserver\n  namespace: kube-system\n"     \
	"spec:\n"                                                \
	"  containers:\n"                                        \
	"  - command:\n"                                         \
	"    - kube-apiserver\n"                                 \
	"    - --advertise-address=10.0.0.1\n"                   \
	"    - --allow-privileged=true\n"                        \
	"    - --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt\n"  \
	"    - --etcd-certfile=/etc/kubernetes/pki/client.crt\n" \
	"    - --etcd-keyfile=/elsewhere/client.key\n"           \
	"    - --etcd-servers=https://127.0.0.1:2379\n"
#define KUBEADM_TAIL                                                                        \
	"    image: registry.k8s.io/kube-apiserver:v1.36.3\n"                               \
	"    name: kube-apiserver\n"                                                        \
	"    volumeMounts:\n"                                                               \
	"    - {mountPath: /etc/ssl/certs, name: ca-certs}\n"                               \
	"    - {mountPath: /etc/kubernetes/pki, name: k8s-certs}\n"                         \
	"    - {mountPath: /etc/kubernetes/pki/etcd/, name: etcd}\n"                        \
	"    - {mountPath: /etc/kubernetes/enc, name: enc}\n"                               \
	"    - {mountPath: /one/file.yaml, name: enc, subPath: config.yaml}\n"              \
	"    - {mountPath: /two, name: enc, subPath: deep/}\n"                              \
	"    - {mountPath: /three, name: enc, subPathExpr: $(POD)}\n"                       \
	"    - {mountPath: /four/file.yaml, name: lone}\n"                                  \
	"    - {mountPath: /five, name: secret}\n"                                          \
	"    - {mountPath: /six, name: missing}\n"                                          \
	"  volumes:\n"                                                                      \
	"  - {name: ca-certs, hostPath: {path: /etc/ssl/certs, type: DirectoryOrCreate}}\n" \
	"  - {name: k8s-certs, hostPath: {path: /srv/pki/}}\n"                              \
	"  - {name: etcd, hostPath: {path: /srv/etcd-pki}}\n"                               \
	"  - {name: enc, hostPath: {path: /srv/encryption}}\n"                              \
	"  - {name: lone, hostPath: {path: /srv/lone.yaml, type: File}}\n"                  \
	"  - {name: secret, secret: {secretName: x}}\n"                                     \
	"status: {}\n"

static struct node_facts manifest(const char *text)
{
	struct node_facts facts = {0};
	struct error *err = NULL;

	assert_ok(node_facts_from_manifest("m.yaml", text, strlen(text), &facts, &err), err);
	return facts;
}

static void test_kubeadm(void **state)
{
	struct node_facts facts =
		manifest(KUBEADM_HEAD "    - --encryption-provider-config=/etc/kubernetes/enc/config.yaml\n"
				      "    - --encryption-provider-config-automatic-reload=true\n"
				      "    - --service-account-signing-key-file=/etc/kubernetes/pki/sa.key\n"
				      "    - --secure-port=6443\n" KUBEADM_TAIL);

	(void)state;
	assert_string_equal(facts.source, "m.yaml");
	assert_true(facts.from_manifest);
	assert_int_equal(facts.host_path_count, 5);
	assert_string_equal(facts.host_paths[0], "/etc/ssl/certs");
	assert_string_equal(facts.host_paths[4], "/srv/lone.yaml");
	assert_string_equal(facts.encryption_config, "/etc/kubernetes/enc/config.yaml");
	assert_string_equal(facts.encryption_config_host, "/srv/encryption/config.yaml");
	assert_false(facts.single_file_mount);
	assert_true(facts.automatic_reload);
	assert_int_equal(facts.etcd_server_count, 1);
	assert_string_equal(facts.etcd_servers[0], "https://127.0.0.1:2379");
	assert_int_equal(facts.etcd_override_count, 0);
	assert_string_equal(facts.etcd_cacert, "/srv/etcd-pki/ca.crt");
	assert_string_equal(facts.etcd_cert, "/srv/pki/client.crt");
	assert_null(facts.etcd_key); /* in no volume: not on this host */
	assert_string_equal(facts.signing_key, "/srv/pki/sa.key");
	assert_null(facts.signing_endpoint);
	assert_string_equal(facts.etcd_prefix, "/registry");
	assert_int_equal(facts.request_timeout, 60 * NS_PER_S);
	assert_int_equal(facts.compaction_interval, 300 * NS_PER_S);
	assert_string_equal(facts.advertise_address, "10.0.0.1");
	assert_null(facts.bind_address);
	assert_int_equal(facts.secure_port, 6443);
	assert_int_equal(facts.process_id, 0);
	node_facts_free(&facts);
	node_facts_free(&facts);
}

struct mount_row {
	const char *name; /* the server's path */
	const char *host;
	bool alone;
};
static const struct mount_row mounts[] = {
	{"/etc/kubernetes/enc/config.yaml", "/srv/encryption/config.yaml", false},
	{"/etc/kubernetes/enc/a/b.yaml", "/srv/encryption/a/b.yaml", false},
	{"/etc/kubernetes/enclave.yaml", NULL, false},
	{"/etc/kubernetes/pki/enc.yaml", "/srv/pki/enc.yaml", false},
	{"/etc/kubernetes/pki/etcd/enc.yaml", "/srv/etcd-pki/enc.yaml", false},
	{"/one/file.yaml", "/srv/encryption/config.yaml", true},
	{"/two/config.yaml", "/srv/encryption/deep//config.yaml", false},
	{"/three/config.yaml", NULL, false},
	{"/four/file.yaml", "/srv/lone.yaml", true},
	{"/five/config.yaml", NULL, false},
	{"/six/config.yaml", NULL, false},
	{"relative.yaml", NULL, false},
};

static void test_mount(void **state)
{
	const struct mount_row *row = *state;
	_cleanup_free_ char *text =
		xasprintf("%s    - --encryption-provider-config=%s\n%s", KUBEADM_HEAD, row->name, KUBEADM_TAIL);
	struct node_facts facts = manifest(text);

	assert_string_equal(facts.encryption_config, row->name);
	if (row->host != NULL)
		assert_string_equal(facts.encryption_config_host, row->host);
	else
		assert_null(facts.encryption_config_host);
	assert_int_equal(facts.single_file_mount, row->alone);
	node_facts_free(&facts);
}

/* Ways in which the same two flags are given. */
struct form_row {
	const char *name;
	const char *container; /* flow mapping, in JSON */
};
static const struct form_row forms[] = {
	{"one list", "\"command\": [\"kube-apiserver\", \"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"value apart", "\"command\": [\"kube-apiserver\", \"--secure-port\", \"7\", \"--request-timeout\", \"5s\"]"},
	{"single word flags before",
	 "\"command\": [\"kube-apiserver\", \"--profiling\", \"--secure-port\", \"7\", \"--request-timeout\", \"5s\"]"},
	{"args", "\"command\": [\"kube-apiserver\"], \"args\": [\"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"full path",
	 "\"command\": [\"/usr/local/bin/kube-apiserver\", \"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"started by another", "\"command\": [\"/go-runner\", \"--log-file=/x\", \"kube-apiserver\", "
			       "\"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"the image's entry point",
	 "\"name\": \"kube-apiserver\", \"args\": [\"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"underscores", "\"command\": [\"kube-apiserver\", \"--secure_port=7\", \"--request_timeout=5s\"]"},
	{"the last one counts",
	 "\"command\": [\"kube-apiserver\", \"--secure-port=9\", \"--secure-port=7\", \"--request-timeout=5s\"]"},
	{"all after -- is none", "\"command\": [\"kube-apiserver\", \"--secure-port=7\", \"--request-timeout=5s\", "
				 "\"--\", \"--secure-port=9\"]"},
	{"a number without quotes",
	 "\"command\": [\"kube-apiserver\", \"--secure-port\", 7, \"--request-timeout\", \"5000ms\"]"},
};

static void test_form(void **state)
{
	const struct form_row *row = *state;
	_cleanup_free_ char *text = xasprintf("{\"kind\": \"Pod\", \"spec\": {\"containers\": [{\"name\": \"side\", "
					      "\"command\": [\"car\"]}, {%s}]}}",
					      row->container);
	struct node_facts facts = manifest(text);

	assert_int_equal(facts.secure_port, 7);
	assert_int_equal(facts.request_timeout, 5 * NS_PER_S);
	node_facts_free(&facts);
}

struct bad_row {
	const char *name;
	const char *text;
	const char *message; /* its beginning */
};
static const struct bad_row bad[] = {
	{"not YAML", "{", "m.yaml:"},
	{"empty", "", "m.yaml:"},
	{"a list", "[]", "m.yaml: no Pod"},
	{"another kind", "kind: Service", "m.yaml: no Pod"},
	{"no containers", "kind: Pod", "m.yaml: no container with a kube-apiserver command"},
	{"another program", "kind: Pod\nspec: {containers: [{name: etcd, command: [etcd, --x=kube-apiserver]}]}",
	 "m.yaml: no container with a kube-apiserver command"},
	{"a shell",
	 "kind: Pod\nspec: {containers: [{command: [/bin/sh, -c, 'exec kube-apiserver --secure-port=7 2>&1']}]}",
	 "m.yaml: kube-apiserver is started by a shell script: its flags cannot be read from here"},
	{"a duration", "kind: Pod\nspec: {containers: [{command: [kube-apiserver, --request-timeout=soon]}]}",
	 "m.yaml: --request-timeout has a value that the server would refuse"},
	{"a port", "kind: Pod\nspec: {containers: [{command: [kube-apiserver, --secure-port=x]}]}",
	 "m.yaml: --secure-port has a value that the server would refuse"},
	{"no value", "kind: Pod\nspec: {containers: [{command: [kube-apiserver, --etcd-servers]}]}",
	 "m.yaml: --etcd-servers has no value"},
};

static void test_bad(void **state)
{
	const struct bad_row *row = *state;
	struct node_facts facts = {.secure_port = 42};
	struct error *err = NULL;

	assert_int_equal(node_facts_from_manifest("m.yaml", row->text, strlen(row->text), &facts, &err), -ERROR_INPUT);
	if (!text_starts(error_message(err), row->message))
		fail_msg("got \"%s\"", error_message(err));
	assert_int_equal(facts.secure_port, 42);
	error_free(err);
}

static void test_command_line(void **state)
{
	static const char bytes[] =
		"/usr/bin/kube-apiserver\0--etcd-servers=http://a:1,http://b:2\0--etcd-servers\0http://c:3\0"
		"--etcd-servers-overrides=/events#http://d:4;http://e:5,apps/deployments#http://f:6\0"
		"--etcd-prefix=/other\0--encryption-provider-config-automatic-reload\0"
		"--encryption-provider-config\0/enc.yaml\0--etcd-compaction-interval=0\0--etcd-cafile=/ca\0"
		"--service-account-signing-endpoint=/run/signer.sock\0";
	struct node_facts facts = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(node_facts_from_cmdline(17, bytes, sizeof(bytes) - 1, &facts, &err), err);
	assert_string_equal(facts.source, "process 17");
	assert_false(facts.from_manifest);
	assert_int_equal(facts.host_path_count, 0);
	assert_int_equal(facts.process_id, 17);
	assert_int_equal(facts.etcd_server_count, 3);
	assert_string_equal(facts.etcd_servers[2], "http://c:3");
	assert_int_equal(facts.etcd_override_count, 2);
	assert_string_equal(facts.etcd_overrides[0], "/events#http://d:4;http://e:5");
	assert_string_equal(facts.etcd_overrides[1], "apps/deployments#http://f:6");
	assert_string_equal(facts.etcd_prefix, "/other");
	assert_true(facts.automatic_reload);
	assert_string_equal(facts.encryption_config, "/enc.yaml");
	assert_string_equal(facts.encryption_config_host, "/enc.yaml");
	assert_int_equal(facts.compaction_interval, 0);
	assert_string_equal(facts.etcd_cacert, "/ca");
	assert_string_equal(facts.signing_endpoint, "/run/signer.sock");
	node_facts_free(&facts);
	assert_error(node_facts_from_cmdline(18, "etcd\0--x", 8, &facts, &err), err, ERROR_INPUT,
		     "process 18 is no kube-apiserver");
	assert_error(node_facts_from_cmdline(19, "", 0, &facts, &err), err, ERROR_INPUT,
		     "process 19 is no kube-apiserver");
	assert_error(node_facts_from_cmdline(20, "kube-apiserver\0--secure-port", 28, &facts, &err), err, ERROR_INPUT,
		     "process 20: --secure-port has no value");
}

/* Each row's arguments beside those of a server that has all that facts hold. */
static void test_difference(void **state)
{
	static const struct {
		const char *other, *flag; /* flag NULL: they say the same */
	} rows[] = {
		{"--etcd-servers=http://a:1,http://b:2 --request-timeout=1m0s --secure-port=6443", NULL},
		{"--etcd-servers=http://a:1,http://b:2 --request-timeout=60s --v=4", NULL},
		{"--etcd-servers=http://a:1 --request-timeout=60s", "etcd-servers"},
		{"--etcd-servers=http://a:1,http://c:2 --request-timeout=60s", "etcd-servers"},
		{"--etcd-servers=http://a:1,http://b:2 --request-timeout=10m", "request-timeout"},
		{"--etcd-servers=http://a:1,http://b:2 --encryption-provider-config=/e", "encryption-provider-config"},
		{"--etcd-servers=http://a:1,http://b:2 --encryption-provider-config=/e --request-timeout=2m",
		 "request-timeout"},
		{"--etcd-servers=http://a:1,http://b:2 --encryption-provider-config-automatic-reload",
		 "encryption-provider-config-automatic-reload"},
		{"--etcd-servers=http://a:1,http://b:2 --etcd-prefix=/p", "etcd-prefix"},
		{"--etcd-servers=http://a:1,http://b:2 --secure-port=1", "secure-port"},
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct node_facts facts[2] = {0};
		const char *arguments[2] = {rows[0].other, rows[i].other};
		struct error *err = NULL;

		for (size_t k = 0; k < 2; k++) {
			_cleanup_free_ char *text = xasprintf("kube-apiserver %s", arguments[k]);
			size_t len = strlen(text);

			for (size_t c = 0; c < len; c++)
				text[c] = text[c] == ' ' ? '\0' : text[c];
			assert_ok(node_facts_from_cmdline(1 + (unsigned)k, text, len, &facts[k], &err), err);
		}
		if (!text_equal(node_facts_difference(&facts[0], &facts[1]), rows[i].flag) ||
		    !text_equal(node_facts_difference(&facts[1], &facts[0]), rows[i].flag))
			fail_msg("%s: %s", rows[i].other, node_facts_difference(&facts[0], &facts[1]));
		node_facts_free(&facts[0]);
		node_facts_free(&facts[1]);
	}
}

/* What has changed is told at each look, not once. */
static void test_flags_of_a_manifest(void **state)
{
	struct node_facts facts = {0};
	struct node_flags flags;
	struct error *err = NULL;

	(void)state;
	put_file(in_folder("pod.yaml"), KUBEADM_HEAD KUBEADM_TAIL);
	assert_ok(node_facts_of_manifest(in_folder("pod.yaml"), &facts, &err), err);
	node_flags_take(&facts, "/srv/encryption/config.yaml", &flags);
	assert_null(node_flags_changed(&flags, 0));
	assert_null(node_flags_changed(&flags, 1));
	put_file(in_folder("pod.yaml"), KUBEADM_HEAD "    - --request-timeout=5m\n" KUBEADM_TAIL);
	assert_null(node_flags_changed(&flags, 1));
	for (int look = 0; look < 3; look++) {
		_cleanup_free_ char *changed = node_flags_changed(&flags, 2);

		assert_string_equal(changed, "the API server was started again with another --request-timeout");
	}
	put_file(in_folder("pod.yaml"), KUBEADM_HEAD KUBEADM_TAIL);
	assert_null(node_flags_changed(&flags, 3));
	node_flags_free(&flags);
	/* Nothing here tells. */
	facts.from_manifest = false;
	node_flags_take(&facts, "/srv/encryption/config.yaml", &flags);
	assert_null(node_flags_changed(&flags, 1));
	assert_null(node_flags_changed(&flags, 2));
	node_flags_free(&flags);
	node_facts_free(&facts);
}

static void make_process(unsigned pid, const char *exe, const char *cmdline)
{
	_cleanup_free_ char *directory = xasprintf("%s/%u", folder, pid);
	_cleanup_free_ char *link = xasprintf("%s/exe", directory);
	_cleanup_free_ char *file = xasprintf("%s/cmdline", directory);

	assert_int_equal(mkdir(directory, 0700), 0);
	if (exe != NULL)
		assert_int_equal(symlink(exe, link), 0);
	put_file(file, cmdline);
}

static void test_find_processes(void **state)
{
	unsigned pids[2] = {0};

	(void)state;
	make_process(900, "/usr/bin/etcd", "etcd");
	make_process(30, "/usr/local/bin/kube-apiserver", "kube-apiserver");
	make_process(4, NULL, "/bin/kube-apiserver");
	make_process(5, "/x/kube-apiserver (deleted)", "");
	make_process(6, "/x/not-kube-apiserver", "sh");
	make_process(7, NULL, "");
	put_file(in_folder("uptime"), "1");
	assert_int_equal(node_find_apiservers(folder, pids, 2), 3);
	assert_int_equal(pids[0], 4);
	assert_int_equal(pids[1], 5);
	assert_int_equal(node_find_apiservers("/nonexistent", pids, 2), 0);
}

static void test_same_file(void **state)
{
	_cleanup_free_ char *real = xstrdup(in_folder("real")), *root = xstrdup(in_folder("5/root"));

	(void)state;
	make_process(5, NULL, "");
	assert_int_equal(mkdir(root, 0700), 0);
	put_file(real, "x");
	assert_int_equal(link(real, in_folder("5/root/same")), 0);
	put_file(in_folder("5/root/other"), "x");
	/* Absolute there: it must not be followed from here. */
	assert_int_equal(symlink("/same", in_folder("5/root/link")), 0);
	assert_int_equal(node_same_file(folder, 5, "/same", real), 1);
	/* Not on Linux before 5.6, nor under a valgrind that does not know the call. */
	if (syscall(SYS_openat2, -1, "", NULL, 0) == 0 || errno != ENOSYS)
		assert_int_equal(node_same_file(folder, 5, "/link", real), 1);
	assert_int_equal(node_same_file(folder, 5, "/other", real), 0);
	assert_int_equal(node_same_file(folder, 5, "/missing", real), 0);
	assert_int_equal(node_same_file(folder, 5, "/same", in_folder("missing")), 0);
	assert_int_equal(node_same_file(folder, 6, "/same", real), -ERROR_IO);
	assert_int_equal(node_same_file("/proc", (unsigned)getpid(), real, real), 1);
}

static void test_single_file_mount(void **state)
{
	(void)state;
	make_process(5, NULL, "");
	put_file(in_folder("5/mountinfo"), "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw\n"
					   "37 36 98:0 /srv/a /etc/enc/a\\040b.yaml ro - ext4 /dev/root rw\n"
					   "short\n");
	assert_int_equal(node_single_file_mount(folder, 5, "/etc/enc/a b.yaml"), 1);
	assert_int_equal(node_single_file_mount(folder, 5, "/etc/enc/a"), 0);
	assert_int_equal(node_single_file_mount(folder, 5, "/etc/enc"), 0);
	assert_int_equal(node_single_file_mount(folder, 6, "/etc/enc"), -ERROR_IO);
	assert_int_equal(node_single_file_mount("/proc", (unsigned)getpid(), "/proc"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kubeadm),      cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_difference),   folder_test(test_flags_of_a_manifest),
		folder_test(test_find_processes),    folder_test(test_same_file),
		folder_test(test_single_file_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_mount, mounts) + RUN_ROWS(test_form, forms) +
	       RUN_ROWS(test_bad, bad);
}
