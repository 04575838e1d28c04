#include "cmd/options.h"

#include <stddef.h>
#include <string.h>

#include "base/clock.h"

#define DEFAULT_QPS 50
#define DEFAULT_CONCURRENCY 16
#define CONCURRENCY_MAX 64
#define DAYS_MAX 36500                            /* of a key */
#define CENSUS_INTERVAL_MIN UINT64_C(10000000000) /* ns */

/* KIND_ONE: a text, and who says it twice means both, while one would be asked: refused. Of others the last one counts. */
enum kind { KIND_FLAG, KIND_TEXT, KIND_ONE, KIND_LIST, KIND_NUMBER, KIND_DURATION, KIND_DAYS };

struct option {
	const char *name, *letter; /* "--qps", "-n" */
	enum kind kind;
	size_t at; /* of the field */
	unsigned group;
	const char *value, *help;
};

#define FIELD(name) offsetof(struct options, name)
static const struct option table[] = {
	{"--output", "-o", KIND_TEXT, FIELD(output), OPTIONS_OUTPUT, "json", "print one JSON document instead of text"},
	{"--help", "-h", KIND_FLAG, FIELD(help), ~0u, NULL, "show this help"},
	{"--kubeconfig", NULL, KIND_TEXT, FIELD(kubeconfig), OPTIONS_API, "FILE",
	 "kubeconfig (default: as kubectl, then /etc/kubernetes/admin.conf)"},
	{"--context", NULL, KIND_TEXT, FIELD(context), OPTIONS_API, "NAME", "context of the kubeconfig"},
	{"--cluster", NULL, KIND_TEXT, FIELD(cluster), OPTIONS_API, "NAME",
	 "cluster of the kubeconfig, instead of the context's"},
	{"--user", NULL, KIND_TEXT, FIELD(user), OPTIONS_API, "NAME",
	 "user of the kubeconfig, instead of the context's"},
	{"--as", NULL, KIND_TEXT, FIELD(as), OPTIONS_API, "USER", "user to impersonate"},
	{"--as-group", NULL, KIND_LIST, FIELD(as_groups), OPTIONS_API, "GROUP", "group to impersonate; repeatable"},
	{"--server", "-s", KIND_TEXT, FIELD(server), OPTIONS_API, "URL",
	 "address of the API server, instead of the kubeconfig's"},
	{"--request-timeout", NULL, KIND_DURATION, FIELD(request_timeout), OPTIONS_API, "DURATION",
	 "no single request to the API server may take longer (default: 0, each has a limit of its own)"},
	{"--apiserver-request-timeout", NULL, KIND_TEXT, FIELD(request_timeout_text), OPTIONS_API, "DURATION",
	 "the API server's own --request-timeout where it cannot be found (default: 60s)"},
	{"--apiserver-manifest", NULL, KIND_TEXT, FIELD(apiserver_manifest), OPTIONS_API, "FILE",
	 "static-pod manifest to read flags from (default: /etc/kubernetes/manifests/kube-apiserver.yaml, then the "
	 "running process)"},
	{"--etcd-endpoints", NULL, KIND_LIST, FIELD(etcd_endpoints), OPTIONS_ETCD, "URL,...",
	 "endpoints of one etcd; repeat for each further etcd"},
	{"--etcd-cacert", NULL, KIND_TEXT, FIELD(etcd_cacert), OPTIONS_ETCD, "FILE", "CA of etcd's certificates"},
	{"--etcd-cert", NULL, KIND_TEXT, FIELD(etcd_cert), OPTIONS_ETCD, "FILE", "client certificate for etcd"},
	{"--etcd-key", NULL, KIND_TEXT, FIELD(etcd_key), OPTIONS_ETCD, "FILE", "key of the client certificate"},
	{"--etcd-prefix", NULL, KIND_TEXT, FIELD(etcd_prefix), OPTIONS_ETCD, "PREFIX",
	 "the API server's --etcd-prefix (default: /registry)"},
	{"--foreign-prefix", NULL, KIND_LIST, FIELD(foreign_prefixes), OPTIONS_ETCD, "PREFIX",
	 "keys in etcd that belong to somebody else; repeatable; printed in the report"},
	{"--encryption-config", NULL, KIND_TEXT, FIELD(encryption_config), OPTIONS_CONFIG | OPTIONS_AGENT, "FILE",
	 "the EncryptionConfiguration in force"},
	{"--contexts", NULL, KIND_ONE, FIELD(contexts), OPTIONS_BACKUPS, "NAME,...",
	 "clusters by their contexts of the kubeconfig; each one's etcd is found among all --etcd-endpoints"},
	{"--snapshots", NULL, KIND_ONE, FIELD(snapshots), OPTIONS_BACKUPS, "DIR",
	 "backups of etcd, every file there; where neither an API server nor etcd is named, nothing else is asked"},
	{"--snapshot", NULL, KIND_ONE, FIELD(snapshot), OPTIONS_BACKUP, "FILE",
	 "which keys this backup of etcd needs (etcdctl snapshot save, or member/snap/db); no cluster is asked. With "
	 "--encryption-config its newest values are opened"},
	{"--open", NULL, KIND_FLAG, FIELD(open), OPTIONS_OPEN, NULL,
	 "values under KMS v2 are opened, too: one Decrypt call of the plugin for each data encryption key, which may "
	 "cost "
	 "quota; exit 1 where any encrypted value is not opened"},
	{"--without-key", NULL, KIND_ONE, FIELD(without_key), OPTIONS_WITHOUT, "KEY",
	 "instead of a rotation: which objects would be lost with this key (aescbc/key1, kms/vault, or a KMS's key "
	 "ID), "
	 "and when that would be noticed"},
	{"--probe", NULL, KIND_FLAG, FIELD(probe), OPTIONS_OPEN, NULL,
	 "of objects that no API server could read after a restart: whether this one still serves them (a GET each, at "
	 "most 100)"},
	{"--resource", NULL, KIND_LIST, FIELD(resources), OPTIONS_SELECT, "R[.GROUP]",
	 "a resource; repeatable (default: all that are encrypted)"},
	{"--resource", NULL, KIND_LIST, FIELD(resources), OPTIONS_KINDS, "R[.GROUP]",
	 "--no-etcd: a resource; repeatable (default: all that the servers' counters show to be encrypted)"},
	{"--namespace", "-n", KIND_LIST, FIELD(namespaces), OPTIONS_SELECT, "NAMESPACE",
	 "a namespace; repeatable (default: all)"},
	{"--all-namespaces", "-A", KIND_FLAG, FIELD(all_namespaces), OPTIONS_SELECT, NULL,
	 "all namespaces (the default)"},
	{"--no-etcd", NULL, KIND_FLAG, FIELD(no_etcd), OPTIONS_NO_ETCD, NULL,
	 "etcd cannot be reached (EKS, AKS, GKE): what the API alone can show, a weaker proof and called so"},
	{"--mode", NULL, KIND_TEXT, FIELD(mode), OPTIONS_SPEED, "replace|patch|force",
	 "replace: read and put back; patch: an empty patch, no value enters the process; force (reencrypt --no-etcd): "
	 "an annotation makes it a write, where a KMS never changes its key ID (default: replace; with --no-etcd "
	 "patch)"},
	{"--qps", NULL, KIND_NUMBER, FIELD(qps), OPTIONS_SPEED | OPTIONS_PACE, "N",
	 "writes per second, and reads where objects are read one by one (default: 50; 0: full speed)"},
	{"--concurrency", NULL, KIND_NUMBER, FIELD(concurrency), OPTIONS_SPEED | OPTIONS_PACE, "N",
	 "of them at once, 1 to 64 (default: 16; where agents rotate 8)"},
	{"--deadline", NULL, KIND_DURATION, FIELD(deadline), OPTIONS_SPEED | OPTIONS_PACE, "DURATION",
	 "stop after this time with exit code 4; the same command goes on"},
	{"--provider", NULL, KIND_TEXT, FIELD(provider), OPTIONS_ROTATE, "aescbc|aesgcm|secretbox|kms",
	 "kind of the new key (default: the old key's)"},
	{"--kms-name", NULL, KIND_TEXT, FIELD(kms_name), OPTIONS_ROTATE, "NAME",
	 "--provider kms: the provider's name in the configuration, which every value will carry"},
	{"--kms-endpoint", NULL, KIND_TEXT, FIELD(kms_endpoint), OPTIONS_ROTATE, "unix:///PATH",
	 "--provider kms: the KMS v2 plugin's socket (unix:///@NAME: an abstract one)"},
	{"--kms-timeout", NULL, KIND_DURATION, FIELD(kms_timeout), OPTIONS_ROTATE, "DURATION",
	 "--provider kms: how long a call may take (default: 3s)"},
	{"--follow-kms", NULL, KIND_FLAG, FIELD(follow_kms), OPTIONS_ROTATE, NULL,
	 "no configuration changes: waits until the KMS plugin names another key ID than values are under, then "
	 "re-encrypts "
	 "and proves"},
	{"--renew-dek", NULL, KIND_FLAG, FIELD(renew_dek), OPTIONS_ROTATE, NULL,
	 "the same KMS plugin under another provider name, so that every value gets a new DEK (new material under an "
	 "unchanged key ID)"},
	{"--to", NULL, KIND_TEXT, FIELD(to), OPTIONS_ROTATE, "FILE", "any target configuration, instead of a new key"},
	{"--old-key", NULL, KIND_TEXT, FIELD(old_key), OPTIONS_ROTATE, "keep|seal:CERT|destroy",
	 "what becomes of the old key (default: keep)"},
	{"--new-key-copy", NULL, KIND_TEXT, FIELD(new_key_copy), OPTIONS_ROTATE, "seal:CERT|none",
	 "a sealed copy of the new key before it writes (default: none)"},
	{"--drop-key", NULL, KIND_LIST, FIELD(drop_keys), OPTIONS_ROTATE, "NAME",
	 "a further key that shall leave; repeatable"},
	{"--drop-identity", NULL, KIND_FLAG, FIELD(drop_identity), OPTIONS_ROTATE, NULL,
	 "plaintext shall no longer be readable"},
	{"--target", NULL, KIND_TEXT, FIELD(target), OPTIONS_ROTATE, "auto|file|agents|manual",
	 "who changes the servers' files (default: auto: agents if any KeyServer exists, else file, that is this "
	 "kube-rekey)"},
	{"--out", NULL, KIND_TEXT, FIELD(out), OPTIONS_ROTATE, "DIR",
	 "manual: where the next configuration is written"},
	{"--out-seal", NULL, KIND_TEXT, FIELD(out_seal), OPTIONS_ROTATE, "CERT",
	 "manual: write it sealed to this certificate"},
	{"--as-deployed", NULL, KIND_TEXT, FIELD(as_deployed), OPTIONS_ROTATE, "FILE",
	 "manual: what the pipeline makes of our bytes; gate: of the present configuration's"},
	{"--apply", NULL, KIND_TEXT, FIELD(apply), OPTIONS_ROTATE, "reload|wait-restart",
	 "wait-restart: the server loads its file at start only (default: reload)"},
	{"--apply", NULL, KIND_TEXT, FIELD(apply), OPTIONS_AGENT, "reload|static-pod",
	 "static-pod: the server loads its file at start only, and an annotation of its manifest lets the kubelet "
	 "restart it, one server of the cluster at a time (default: reload)"},
	{"--servers", NULL, KIND_NUMBER, FIELD(servers), OPTIONS_ROTATE, "N",
	 "the number of API servers, where nothing else can say it"},
	{"--settle", NULL, KIND_DURATION, FIELD(settle), OPTIONS_ROTATE | OPTIONS_LEAD, "DURATION",
	 "settle time (default: the server's request timeout, at least 15s)"},
	{"--compact", NULL, KIND_FLAG, FIELD(compact), OPTIONS_ROTATE, NULL,
	 "compact etcd instead of waiting for the server to do it"},
	{"--allow-aesgcm", NULL, KIND_FLAG, FIELD(allow_aesgcm), OPTIONS_ROTATE, NULL,
	 "aesgcm for more than 200,000 objects"},
	{"--state-dir", NULL, KIND_TEXT, FIELD(state_dir), OPTIONS_ROTATE | OPTIONS_AGENT | OPTIONS_REPORT, "DIR",
	 "where old keys, reports, and an agent's state, are kept (default: /var/lib/kube-rekey)"},
	{"--record", NULL, KIND_TEXT, FIELD(record), OPTIONS_ROTATE | OPTIONS_LEAD, "FILE",
	 "flight recorder: every observation and decision, without secrets"},
	{"--namespace", "-n", KIND_LIST, FIELD(namespaces), OPTIONS_LEAD, "NAMESPACE",
	 "of its Lease; kube-system, where every rotation looks for it (no other is taken)"},
	{"--census-interval", NULL, KIND_DURATION, FIELD(census_interval), OPTIONS_LEAD, "DURATION",
	 "while nothing is rotated an agent reads every value so often, and what is not under its write key is told, "
	 "not "
	 "rewritten (default: 0, never; at least 10s)"},
	{"--apiserver", NULL, KIND_LIST, FIELD(apiservers), OPTIONS_FLEET, "URL",
	 "an API server's own address; repeatable (default: those of the EndpointSlice of service kubernetes)"},
	{"--apiserver", NULL, KIND_LIST, FIELD(apiservers), OPTIONS_AGENT, "URL",
	 "its API server's own address (default: the kubeconfig's)"},
	{"--node-name", NULL, KIND_TEXT, FIELD(node_name), OPTIONS_AGENT, "NAME",
	 "the node's name, as its API server's identity Lease has it"},
	{"--trust-key", NULL, KIND_TEXT, FIELD(trust_key), OPTIONS_AGENT | OPTIONS_CHECK, "FILE",
	 "what all control-plane nodes share and etcd has not: 32 random bytes, or a PEM with a private key (default: "
	 "the file by which this node's API server signs tokens, by its flags, else /etc/kubernetes/pki/sa.key)"},
	{"--backup", NULL, KIND_ONE, FIELD(backup), OPTIONS_CHECK, "FILE",
	 "a backup of etcd that shall be younger than a day, and readable"},
	{"--require-provider", NULL, KIND_ONE, FIELD(require_provider), OPTIONS_CHECK, "aescbc|aesgcm|secretbox|kms",
	 "what is encrypted shall be encrypted by this provider"},
	{"--require-resource", NULL, KIND_LIST, FIELD(require_resources), OPTIONS_CHECK, "R[.GROUP]",
	 "a resource that shall be encrypted; repeatable"},
	{"--expect-key-id", NULL, KIND_ONE, FIELD(expect_key_id), OPTIONS_CHECK, "ARN",
	 "the KMS key ID that everything shall be encrypted with; its hash is compared with the API servers' metrics"},
	{"--max-key-age", NULL, KIND_DAYS, FIELD(max_key_age), OPTIONS_CHECK, "DAYS",
	 "how old a write key may be (90d): by kube-rekey's names, or by the first census that saw it; unknown is a "
	 "finding"},
	{"--contexts", NULL, KIND_ONE, FIELD(contexts), OPTIONS_CHECK, "PATTERN",
	 "a row for each context of the kubeconfig that matches ('prod-*'), by the API alone; -o table, json or csv"},
	{"--listen", NULL, KIND_TEXT, FIELD(listen), OPTIONS_SERVE, "ADDR:PORT",
	 "serve /metrics, /healthz and /readyz there (default: nowhere)"},
	{"--tls-cert-file", NULL, KIND_TEXT, FIELD(tls_cert), OPTIONS_SERVE, "FILE",
	 "certificate to serve with, and its chain (PEM; read again when it changes; default: plain HTTP)"},
	{"--tls-private-key-file", NULL, KIND_TEXT, FIELD(tls_key), OPTIONS_SERVE, "FILE", "its key"},
	{"--name", NULL, KIND_TEXT, FIELD(name), OPTIONS_FOLLOW, "NAME",
	 "agents: name of the KeyRotation; one that goes on is followed (default: made of time and chance)"},
	{"--no-wait", NULL, KIND_FLAG, FIELD(no_wait), OPTIONS_FOLLOW, NULL,
	 "agents: ask for the rotation and do not follow it"},
	{"--promote-old-key", NULL, KIND_FLAG, FIELD(promote_old_key), OPTIONS_ABORT, NULL,
	 "also when the new key may write already: the old key writes again, and everything is rewritten under it"},
	{"--sign-key", NULL, KIND_TEXT, FIELD(sign_key), OPTIONS_REPORT, "FILE",
	 "sign the report as JSON with this private key (PEM, read by its owner alone): CMS in PEM goes to stdout"},
	{"--sign-cert", NULL, KIND_TEXT, FIELD(sign_cert), OPTIONS_REPORT, "FILE",
	 "its certificate, and what leads to its CA (PEM)"},
	{"--verify", NULL, KIND_ONE, FIELD(verify), OPTIONS_REPORT, "FILE",
	 "check a signed report and show it; no cluster is asked"},
	{"--signer", NULL, KIND_ONE, FIELD(signer), OPTIONS_REPORT, "FILE",
	 "--verify: the certificate of who must have signed (PEM)"},
	{"--ca", NULL, KIND_TEXT, FIELD(ca), OPTIONS_REPORT, "FILE",
	 "--verify: the certificates that vouch for whoever signs (PEM)"},
	{"--cloudtrail", NULL, KIND_LIST, FIELD(cloudtrails), OPTIONS_REPORT, "FILE",
	 "a log file of AWS CloudTrail, plain or gzip: the last Encrypt and Decrypt of the old key; repeatable"},
	{"--kms-key-arn", NULL, KIND_ONE, FIELD(kms_key_arn), OPTIONS_REPORT, "ARN",
	 "--cloudtrail: the old key (default: its key ID, where the report has one that left)"},
	{"--replay", NULL, KIND_ONE, FIELD(replay), OPTIONS_PAGE, "FILE",
	 "show a flight record (--record) instead of a cluster, and what is added to it"},
	{"--no-open", NULL, KIND_FLAG, FIELD(no_open), OPTIONS_PAGE, NULL,
	 "do not open a browser (it is opened where there is a display)"},
	{"--termination-log", NULL, KIND_TEXT, FIELD(termination_log), OPTIONS_POD, "FILE",
	 "where it says at the end what came of it (default: /dev/termination-log where that is, as in a pod)"},
	{"--yes", NULL, KIND_FLAG, FIELD(yes), OPTIONS_CONFIRM, NULL, "do not ask"},
};

static const struct option *find(const char *name, size_t len, unsigned groups)
{
	for (size_t i = 0; i < ELEMENTS(table); i++) {
		const struct option *option = &table[i];
		bool is_long = strlen(option->name) == len && strncmp(option->name, name, len) == 0;
		bool is_short =
			option->letter && strlen(option->letter) == len && strncmp(option->letter, name, len) == 0;
		if ((option->group & groups) && (is_long || is_short))
			return option;
	}
	return NULL;
}

/* "90d", or a duration as other flags take it. */
static int text_to_days(const char *text, uint64_t *ret_ns)
{
	uint64_t days;
	size_t len = strlen(text);
	if (len == 0 || text[len - 1] != 'd')
		return text_to_duration(text, ret_ns);
	if (text_bytes_to_u64(text, len - 1, &days) < 0 || days > DAYS_MAX)
		return -ERROR_INPUT;
	*ret_ns = days * 24 * 3600 * NS_PER_S;
	return 0;
}

static int store(const struct option *option, const char *value, struct options *options, struct error **err)
{
	void *field = (char *)options + option->at;
	switch (option->kind) {
	case KIND_FLAG:
		if (value && !text_equal(value, "true") && !text_equal(value, "false"))
			return error_set(err, ERROR_USAGE, "%s takes no value", option->name);
		*(bool *)field = !text_equal(value, "false");
		break;
	case KIND_ONE:
		if (*(const char **)field)
			return error_set(err, ERROR_USAGE, "%s is said twice: it takes one value", option->name);
		*(const char **)field = value;
		break;
	case KIND_TEXT:
		*(const char **)field = value;
		break;
	case KIND_LIST:
		strings_add(field, value);
		break;
	case KIND_NUMBER:
		if (text_to_u64(value, field) < 0)
			return error_set(err, ERROR_USAGE, "%s %s: not a number", option->name, value);
		break;
	case KIND_DURATION:
		if (text_to_duration(value, field) < 0)
			return error_set(err, ERROR_USAGE, "%s %s: not a duration such as 90s or 1h30m", option->name,
					 value);
		break;
	case KIND_DAYS:
		if (text_to_days(value, field) < 0)
			return error_set(err, ERROR_USAGE, "%s %s: not a time such as 90d or 36h", option->name, value);
		break;
	}
	if (option->at == FIELD(settle))
		options->has_settle = true;
	strings_add(&options->given, option->name);
	return 0;
}

static int check_one_of(const char *name, const char *value, const char *const *allowed, struct error **err)
{
	for (size_t i = 0; value && allowed[i]; i++)
		if (text_equal(value, allowed[i]))
			return 0;
	if (!value)
		return 0;
	_cleanup_strings_ words = {0};
	for (size_t i = 0; allowed[i]; i++)
		strings_add(&words, allowed[i]);
	_cleanup_free_ char *list = strings_join(&words, ", ");
	return error_set(err, ERROR_USAGE, "%s %s: it is one of %s", name, value, list);
}

static bool has_certificate(const char *value)
{
	return value && text_starts(value, "seal:") && value[strlen("seal:")] != '\0';
}

/* Here, not where they are used, or a machine on which nothing is set up would name a kubeconfig in place of the mistake. */
static int check_rotation(const struct options *o, struct error **err)
{
	int rc = check_one_of("--provider", o->provider,
			      (const char *const[]){"aescbc", "aesgcm", "secretbox", "kms", NULL}, err);
	if (rc < 0)
		error_set_hint(err, "any other target is a file: --to FILE");
	if (rc == 0 && !has_certificate(o->old_key))
		rc = check_one_of("--old-key", o->old_key, (const char *const[]){"keep", "seal:CERT", "destroy", NULL},
				  err);
	if (rc == 0 && !has_certificate(o->new_key_copy))
		rc = check_one_of("--new-key-copy", o->new_key_copy, (const char *const[]){"seal:CERT", "none", NULL},
				  err);
	return rc;
}

static int check_output(const struct options *o, struct error **err)
{
	if (o->contexts)
		return check_one_of("-o", o->output, (const char *const[]){"table", "json", "csv", NULL}, err);
	if (!o->output || text_equal(o->output, "json"))
		return 0;
	error_set(err, ERROR_USAGE, "-o %s: there is json, which every reader of YAML takes too, and text without -o",
		  o->output);
	error_set_hint(
		err,
		"KeyRotations and KeyServers themselves: kubectl get keyrotations,keyservers -o yaml, wide or name");
	return -ERROR_USAGE;
}

static int check(struct options *o, unsigned groups, struct error **err)
{
	int rc = check_output(o, err);
	if (rc == 0)
		rc = check_one_of("--mode", o->mode, (const char *const[]){"replace", "patch", "force", NULL}, err);
	if (rc == 0 && text_equal(o->mode, "force") && !o->no_etcd)
		rc = error_set(err, ERROR_USAGE, "--mode force is for reencrypt --no-etcd");
	if (rc == 0)
		rc = check_one_of("--target", o->target,
				  (const char *const[]){"auto", "file", "agents", "manual", NULL}, err);
	if (rc == 0)
		rc = check_one_of("--apply", o->apply,
				  groups & OPTIONS_AGENT ? (const char *const[]){"reload", "static-pod", NULL}
							 : (const char *const[]){"reload", "wait-restart", NULL},
				  err);
	if (rc == 0)
		rc = check_rotation(o, err);
	if (rc == 0 && (o->concurrency < 1 || o->concurrency > CONCURRENCY_MAX))
		rc = error_set(err, ERROR_USAGE, "--concurrency is 1 to %d", CONCURRENCY_MAX);
	if (rc == 0 && !o->etcd_cert != !o->etcd_key)
		rc = error_set(err, ERROR_USAGE, "--etcd-cert and --etcd-key go together");
	if (rc == 0 && (!o->tls_cert != !o->tls_key || (o->tls_cert && !o->listen)))
		rc = error_set(err, ERROR_USAGE,
			       "--tls-cert-file and --tls-private-key-file go together, and with --listen");
	if (rc == 0 && o->census_interval > 0 && o->census_interval < CENSUS_INTERVAL_MIN)
		rc = error_set(err, ERROR_USAGE, "--census-interval is 0 or at least 10s");
	if (rc == 0 && text_equal(o->target, "manual") && !o->out)
		rc = error_set(err, ERROR_USAGE, "--target manual needs --out DIR");
	if (rc == 0 && o->out && !text_equal(o->target, "manual"))
		rc = error_set(err, ERROR_USAGE, "--out goes with --target manual");
	if (rc == 0 && o->out_seal && !o->out)
		rc = error_set(err, ERROR_USAGE, "--out-seal goes with --target manual --out DIR");
	if (rc == 0 && (groups & OPTIONS_KINDS) && o->resources.count > 0 && !o->no_etcd)
		rc = error_set(
			err, ERROR_USAGE,
			"--resource goes with --no-etcd: with etcd everything that is encrypted is counted, for a key "
			"leaves when nothing needs it");
	if (rc == 0)
		rc = check_one_of("--require-provider", o->require_provider,
				  (const char *const[]){"aescbc", "aesgcm", "secretbox", "kms", NULL}, err);
	o->json = text_equal(o->output, "json");
	return rc;
}

static int take_option(int argc, char **argv, int *at, unsigned groups, struct options *ret, struct error **err)
{
	const char *word = argv[*at], *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct option *option = find(word, len, groups);
	/* As kubectl takes it: -ojson, -nteam-a. */
	bool joined = !option && word[1] != '-' && len > 2 && find(word, 2, groups) != NULL;
	if (joined)
		option = find(word, 2, groups);
	if (!option || (joined && option->kind == KIND_FLAG)) {
		bool elsewhere = find(word, len, ~0u);
		return error_set(err, ERROR_USAGE, "%.*s: %s", (int)len, word,
				 elsewhere ? "this command has no such option" : "unknown option");
	}
	const char *value = joined ? word + 2 : equals ? equals + 1 : NULL;
	if (option->kind != KIND_FLAG && !value) {
		if (*at + 1 >= argc)
			return error_set(err, ERROR_USAGE, "%s needs a value: %s", option->name, option->value);
		value = argv[++*at];
	}
	return store(option, value, ret, err);
}

int options_parse(int argc, char **argv, unsigned groups, struct options *ret, struct error **err)
{
	*ret = (struct options){.qps = DEFAULT_QPS, .concurrency = DEFAULT_CONCURRENCY};
	ret->arguments = xcalloc((size_t)argc + 1, sizeof(*ret->arguments));
	bool ended = false;
	for (int i = 0; i < argc; i++) {
		if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
			ret->arguments[ret->argument_count++] = argv[i];
		} else if (text_equal(argv[i], "--")) {
			ended = true;
		} else {
			int rc = take_option(argc, argv, &i, groups, ret, err);
			if (rc < 0)
				return rc;
		}
	}
	return check(ret, groups, err);
}

size_t options_first_word(char *const *words, size_t count)
{
	size_t i = 0;
	while (i < count && words[i][0] == '-' && words[i][1] != '\0' && !text_equal(words[i], "--")) {
		const struct option *option = find(words[i], strlen(words[i]), ~0u);
		i += option && option->kind != KIND_FLAG ? 2 : 1; /* --name=value and -nvalue are found by no name */
	}
	return i < count ? i : count;
}

void options_free(struct options *options)
{
	strings_free(&options->etcd_endpoints);
	strings_free(&options->foreign_prefixes);
	strings_free(&options->apiservers);
	strings_free(&options->namespaces);
	strings_free(&options->resources);
	strings_free(&options->drop_keys);
	strings_free(&options->require_resources);
	strings_free(&options->cloudtrails);
	strings_free(&options->as_groups);
	strings_free(&options->given);
	free(options->arguments);
}

bool options_given(const struct options *options, const char *name)
{
	return strings_has(&options->given, name);
}

const char *options_given_beside(const struct options *options, const char *const *names, size_t count)
{
	for (size_t i = 0; i < options->given.count; i++) {
		bool named = false;
		for (size_t k = 0; k < count && !named; k++)
			named = text_equal(options->given.items[i], names[k]);
		if (!named)
			return options->given.items[i];
	}
	return NULL;
}

bool options_next(unsigned groups, size_t *at, struct option_text *ret)
{
	while (*at < ELEMENTS(table)) {
		const struct option *option = &table[(*at)++];
		if (!(option->group & groups))
			continue;
		*ret = (struct option_text){option->name, option->letter, option->value, option->help};
		return true;
	}
	return false;
}

void options_help(FILE *out, unsigned groups)
{
	struct option_text option;
	for (size_t at = 0; options_next(groups, &at, &option);) {
		_cleanup_free_ char *names =
			xasprintf("%s%s%s%s%s", option.letter ? option.letter : "", option.letter ? ", " : "    ",
				  option.name, option.value ? " " : "", option.value ? option.value : "");
		if (strlen(names) < 34)
			fprintf(out, "  %-34s %s\n", names, option.help);
		else
			fprintf(out, "  %s\n  %-34s %s\n", names, "", option.help);
	}
}
