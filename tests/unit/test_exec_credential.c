#include "test_folder.h"
#include <fcntl.h>
#include <signal.h>
#include "base/clock.h"
#include "base/json_read.h"
#include "net/exec_credential.h"

#define V1 "client.authentication.k8s.io/v1"
#define BETA "client.authentication.k8s.io/v1beta1"

/* --- what a plugin prints --------------------------------------------------------------------------------------- */

struct output_row {
	const char *name;
	const char *text;
	const char *message; /* NULL: it is good */
};
static const struct output_row outputs[] = {
	{"token", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{\"token\":\"t0\"}}", NULL},
	{"token, time, unknown members",
	 "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
	 "\",\"spec\":{},\"x\":1,\"status\":{\"expirationTimestamp\":"
	 "\"2030-01-02T03:04:05Z\",\"token\":\"t0\",\"y\":[]}}\n",
	 NULL},
	{"empty", "", "it printed no ExecCredential: "},
	{"no JSON", "Error: please log in", "it printed no ExecCredential: "},
	{"a list", "[]", "it printed no ExecCredential"},
	{"another kind", "{\"kind\":\"Token\"}", "it printed no ExecCredential"},
	{"another version", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" BETA "\",\"status\":{\"token\":\"t0\"}}",
	 "it answered in another apiVersion than the kubeconfig's " V1},
	{"no status", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\"}", "it gave no status"},
	{"null status", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":null}", "it gave no status"},
	{"nothing in it", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{}}",
	 "it gave neither a token nor a client certificate"},
	{"an empty token", "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{\"token\":\"\"}}",
	 "it gave neither a token nor a client certificate"},
	{"half a pair",
	 "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{\"token\":\"t\",\"clientKeyData\":\"k\"}}",
	 "it gave half of a client certificate and key"},
	{"a token of two lines",
	 "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{\"token\":\"t\\nX: y\"}}",
	 "it gave a token with control characters in it"},
	{"a time that is none",
	 "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
	 "\",\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}}",
	 "its expirationTimestamp is no time"},
};

static void test_output(void **state)
{
	const struct output_row *row = *state;
	struct exec_credential credential = {0};
	struct error *err = NULL;
	int rc = exec_credential_parse(V1, row->text, strlen(row->text), &credential, &err);

	if (row->message == NULL) {
		assert_ok(rc, err);
		assert_string_equal(secret_text(credential.token), "t0");
		assert_null(credential.cert_pem);
		assert_int_equal(credential.expires, strstr(row->text, "2030") ? 1893553445 * NS_PER_S : 0);
		exec_credential_clear(&credential);
		return;
	}
	assert_int_equal(rc, -ERROR_AUTH);
	if (!text_starts(error_message(err), row->message))
		fail_msg("got \"%s\"", error_message(err));
	error_free(err);
}

static void test_certificate(void **state)
{
	static const char text[] = "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" BETA
				   "\",\"status\":{\"clientCertificateData\":\"c\\nd\",\"clientKeyData\":\"k\"}}";
	struct exec_credential credential = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(exec_credential_parse(BETA, text, strlen(text), &credential, &err), err);
	assert_null(credential.token);
	assert_string_equal(secret_text(credential.cert_pem), "c\nd");
	assert_string_equal(secret_text(credential.key_pem), "k");
	exec_credential_clear(&credential);
}

/* --- what it is told -------------------------------------------------------------------------------------------- */

static void test_info(void **state)
{
	char api_version[] = V1, command[] = "x";
	struct exec_plugin plugin = {.api_version = api_version, .command = command};
	_cleanup_secret_ ca = secret_from("CA", 2);
	struct exec_cluster cluster = {.server = "https://a\"b",
				       .tls_server_name = "n",
				       .insecure = true,
				       .ca_pem = ca,
				       .config_json = "{\"audience\":[1,true]}"};
	_cleanup_free_ char *alone = exec_credential_info(&plugin, &cluster, true);
	_cleanup_free_ char *told = NULL, *least = NULL;

	(void)state;
	assert_string_equal(alone,
			    "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"spec\":{\"interactive\":true}}");
	plugin.provide_cluster_info = true;
	told = exec_credential_info(&plugin, &cluster, false);
	assert_string_equal(
		told,
		"{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"spec\":{\"cluster\":{"
		"\"config\":{\"audience\":[1,true]},\"server\":\"https://a\\\"b\",\"tls-server-name\":\"n\","
		"\"insecure-skip-tls-verify\":true,\"certificate-authority-data\":\"Q0E=\"},\"interactive\":false}}");
	least = exec_credential_info(&plugin, &(struct exec_cluster){.server = "s"}, false);
	assert_string_equal(least, "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
				   "\",\"spec\":{\"cluster\":{\"server\":\"s\"},\"interactive\":false}}");
}

struct check_row {
	const char *name;
	struct exec_plugin plugin;
	const char *message; /* NULL: good */
};
#define TEXT(text) ((char[]){text})
static const struct check_row checks[] = {
	{"v1", {.command = TEXT("x"), .api_version = TEXT(V1), .interactive_given = true}, NULL},
	{"v1beta1 without a mode", {.command = TEXT("x"), .api_version = TEXT(BETA)}, NULL},
	{"v1 without a mode", {.command = TEXT("x"), .api_version = TEXT(V1)}, "exec of " V1 " has no interactiveMode"},
	{"no command", {.api_version = TEXT(V1)}, "exec has no command"},
	{"no version", {.command = TEXT("x")}, "exec has no apiVersion"},
	{"v1alpha1",
	 {.command = TEXT("x"), .api_version = TEXT("client.authentication.k8s.io/v1alpha1")},
	 "exec has an apiVersion other than " V1 " and v1beta1"},
};

static void test_check(void **state)
{
	const struct check_row *row = *state;
	struct error *err = NULL;
	int rc = exec_plugin_check(&row->plugin, &err);

	if (row->message == NULL)
		assert_ok(rc, err);
	else
		assert_error(rc, err, ERROR_INPUT, row->message);
}

/* --- running one ------------------------------------------------------------------------------------------------ */

#define GOOD "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\",\"status\":{\"token\":\"'\"$TOKEN\"'\"}}'\n"

static void make_plugin(const char *name, const char *script)
{
	_cleanup_free_ char *text = xasprintf("#!/bin/sh\n%s", script);

	put_file(in_folder(name), text);
	assert_int_equal(chmod(in_folder(name), 0700), 0);
}

struct run_row {
	const char *name;
	const char *script;
	const char *token;   /* or NULL */
	const char *message; /* behind `exec plugin "PATH": ` */
	uint64_t timeout;    /* ms; 0: 20 s */
};
static const struct run_row runs[] = {
	{"a good one", "TOKEN=t0\n" GOOD, "t0", NULL, 0},
	{"arguments", "TOKEN=\"$1/$2\"\n" GOOD, "one/two words", NULL, 0},
	{"the kubeconfig's variables", "TOKEN=\"$FROM_CONFIG\"\n" GOOD, "config", NULL, 0},
	{"go over the process's", "TOKEN=\"$BOTH\"\n" GOOD, "config", NULL, 0},
	{"which are kept", "TOKEN=\"$FROM_PROCESS\"\n" GOOD, "process", NULL, 0},
	{"KUBERNETES_EXEC_INFO", "case $KUBERNETES_EXEC_INFO in *'\"interactive\":false'*) TOKEN=told;; esac\n" GOOD,
	 "told", NULL, 0},
	{"stdin is empty", "TOKEN=\"none$(cat)\"\n" GOOD, "none", NULL, 0},
	{"SIGPIPE is not ignored, nothing is blocked",
	 "bits() { awk \"/$1/{print \\$2}\" /proc/$$/status; }\nTOKEN=$((0x$(bits SigBlk)))/$((0x$(bits SigIgn) & "
	 "0x1000))\n" GOOD,
	 "0/0", NULL, 0},
	{"stdout is its only end of the pipe",
	 "TOKEN=$(ls -l /proc/$$/fd | grep -cF \"$(readlink /proc/$$/fd/1)\")\n" GOOD, "1", NULL, 0},
	{"a group of its own", "TOKEN=$(cut -d' ' -f5 /proc/$$/stat); [ $TOKEN = $$ ] && TOKEN=own\n" GOOD, "own", NULL,
	 0},
	{"a grandchild keeps stdout open", "TOKEN=t0\n" GOOD "sleep 1000 &\necho $! >child\n", "t0", NULL, 0},
	{"prints and fails", "TOKEN=t0\n" GOOD "exit 7\n", NULL, "it failed with exit status 7", 0},
	{"dies of a signal", "kill -TERM $$\n", NULL, "it was ended by SIGTERM", 0},
	{"prints nothing", "exit 0\n", NULL, "it printed no ExecCredential", 0},
	{"prints too much", "cat /dev/zero\n", NULL, "it printed more than 1048576 bytes", 0},
	{"never ends", "sleep 1000 & echo $! >child; sleep 1000\n", NULL, "it had not ended when its time was up", 300},
	{"closes stdout and never ends", "exec >&-; sleep 1000 & echo $! >child; sleep 1000\n", NULL,
	 "it had not ended when its time was up", 300},
};

static int run_in_folder(const char *script, bool terminal, uint64_t timeout_ms, struct exec_credential *ret,
			 struct error **err)
{
	_cleanup_free_ char *command = xstrdup(in_folder("plugin"));
	char api_version[] = V1;
	char *environment[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"FROM_PROCESS=process"},
			       (char[]){"BOTH=process"}, NULL};
	struct exec_plugin plugin = {.api_version = api_version, .command = command};
	_cleanup_free_ char *in_directory = xasprintf("cd '%s'\n%s", folder, script);
	int rc;

	strings_add(&plugin.arguments, "one");
	strings_add(&plugin.arguments, "two words");
	strings_add(&plugin.environment, "BOTH=first");
	strings_add(&plugin.environment, "FROM_CONFIG=config");
	strings_add(&plugin.environment, "BOTH=config");
	make_plugin("plugin", in_directory);
	rc = exec_credential_run(&plugin, NULL, environment, terminal, timeout_ms * NS_PER_MS, ret, err);
	strings_free(&plugin.arguments);
	strings_free(&plugin.environment);
	return rc;
}

/* The pid that a script wrote into the file "child"; it ends soon, or did. */
static void assert_child_gone(bool gone)
{
	FILE *file = fopen(in_folder("child"), "re");
	int pid = 0, i;
	char state = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	for (i = 0; i < 200; i++) {
		_cleanup_free_ char *stat = xasprintf("/proc/%d/stat", pid);

		file = fopen(stat, "re");
		state = 'X';
		if (file != NULL) {
			assert_int_equal(fscanf(file, "%*d %*s %c", &state), 1);
			fclose(file);
		}
		if (state == 'X' || state == 'Z' || !gone)
			break;
		usleep(10000);
	}
	assert_int_equal(state == 'X' || state == 'Z', gone);
	if (!gone)
		kill(pid, SIGKILL);
}

static void test_run(void **state)
{
	const struct run_row *row = *state;
	struct exec_credential credential = {0};
	struct error *err = NULL;
	uint64_t begun = clock_monotonic();
	int rc;

	assert_int_equal(make_folder(NULL), 0);
	signal(SIGPIPE, SIG_IGN);
	rc = run_in_folder(row->script, false, row->timeout ? row->timeout : 20000, &credential, &err);
	assert_true(clock_monotonic() - begun < 15 * NS_PER_S);
	if (row->token != NULL) {
		assert_ok(rc, err);
		assert_string_equal(secret_text(credential.token), row->token);
	} else {
		_cleanup_free_ char *message = xasprintf("exec plugin \"%s\": %s", in_folder("plugin"), row->message);

		assert_int_equal(rc, -ERROR_AUTH);
		if (!text_starts(error_message(err), message))
			fail_msg("got \"%s\"", error_message(err));
	}
	if (strstr(row->script, ">child"))
		assert_child_gone(row->token == NULL);
	exec_credential_clear(&credential);
	error_free(err);
	remove_folder(NULL);
}

static void test_not_found(void **state)
{
	char api_version[] = V1, command[] = "no-such-plugin", hint[] = "get it from\nexample.com";
	struct exec_plugin plugin = {.api_version = api_version, .command = command, .install_hint = hint};
	struct exec_credential credential = {0};
	char *environment[] = {(char[]){"PATH=/nonexistent::."}, NULL};
	struct error *err = NULL;

	(void)state;
	assert_int_equal(exec_credential_run(&plugin, NULL, environment, false, 0, &credential, &err), -ERROR_AUTH);
	assert_string_equal(error_message(err), "exec plugin \"no-such-plugin\": it was not found, or may not be run");
	assert_string_equal(error_hint(err), "get it from?example.com");
	error_clear(&err);
	plugin.interactive = EXEC_INTERACTIVE_ALWAYS;
	assert_error(exec_credential_run(&plugin, NULL, environment, false, 0, &credential, &err), err, ERROR_AUTH,
		     "exec plugin \"no-such-plugin\" must ask a person, and standard input is no terminal");
}

static void test_found_in_path(void **state)
{
	char api_version[] = V1, command[] = "kube-rekey-test-plugin";
	struct exec_plugin plugin = {.api_version = api_version, .command = command};
	struct exec_credential credential = {0};
	_cleanup_free_ char *path = xasprintf("PATH=/nonexistent:%s:/usr/bin:/bin", folder);
	char *environment[] = {path, NULL};
	struct error *err = NULL;

	(void)state;
	make_plugin(command, "TOKEN=${0##*/}\n" GOOD);
	assert_ok(exec_credential_run(&plugin, NULL, environment, false, 0, &credential, &err), err);
	assert_string_equal(secret_text(credential.token), "kube-rekey-test-plugin");
	exec_credential_clear(&credential);
}

/* A signal that waits for the loop ends the wait here too, and is left for the loop. */
static void test_interrupted(void **state)
{
	struct exec_credential credential = {0};
	struct error *err = NULL;
	sigset_t set, pending;
	int number;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	assert_int_equal(run_in_folder("kill -TERM $PPID; sleep 1000 & echo $! >child; sleep 1000\n", false, 20000,
				       &credential, &err),
			 -ERROR_INTERRUPTED);
	error_free(err);
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGTERM));
	sigwait(&set, &number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void test_environment_get(void **state)
{
	char *environment[] = {(char[]){"AB=1"}, (char[]){"A=2"}, (char[]){"E="}, NULL};

	(void)state;
	assert_string_equal(exec_environment_get(environment, "A"), "2");
	assert_string_equal(exec_environment_get(environment, "E"), "");
	assert_null(exec_environment_get(environment, "B"));
	assert_null(exec_environment_get(NULL, "A"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate), cmocka_unit_test(test_info),
		cmocka_unit_test(test_not_found),   folder_test(test_found_in_path),
		folder_test(test_interrupted),      cmocka_unit_test(test_environment_get),
	};

	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_output, outputs) +
	       RUN_ROWS(test_check, checks) + RUN_ROWS(test_run, runs);
}
