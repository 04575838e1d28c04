/* Every option of every command, in one table: parsing and --help come out of it. */
#pragma once
#include <stdio.h>
#include "base/error.h"
#include "base/text.h"

/* Groups of options; a command names those that it takes. */
enum option_group {
	OPTIONS_OUTPUT = 1 << 0,   /* -o */
	OPTIONS_API = 1 << 1,      /* how the API server is reached */
	OPTIONS_ETCD = 1 << 2,     /* how etcd is reached */
	OPTIONS_CONFIG = 1 << 3,   /* which EncryptionConfiguration */
	OPTIONS_SELECT = 1 << 4,   /* which objects */
	OPTIONS_SPEED = 1 << 5,    /* how fast, how long */
	OPTIONS_ROTATE = 1 << 6,   /* what is asked of a rotation, and how its steps are done */
	OPTIONS_CONFIRM = 1 << 7,  /* --yes */
	OPTIONS_FLEET = 1 << 8,    /* the API servers by their own addresses */
	OPTIONS_AGENT = 1 << 9,    /* the node that an agent stands for */
	OPTIONS_LEAD = 1 << 10,    /* how a controller goes on */
	OPTIONS_SERVE = 1 << 11,   /* what monitoring may ask */
	OPTIONS_FOLLOW = 1 << 12,  /* which KeyRotation, and whether it is waited for */
	OPTIONS_ABORT = 1 << 13,   /* how far a rotation may go back */
	OPTIONS_CHECK = 1 << 14,   /* what is looked for */
	OPTIONS_BACKUP = 1 << 15,  /* a backup of etcd instead of a cluster */
	OPTIONS_BACKUPS = 1 << 16, /* backups of etcd beside a cluster */
	OPTIONS_OPEN = 1 << 17,    /* how far values are opened */
	OPTIONS_WITHOUT = 1 << 18, /* a plan of something else than a rotation */
	OPTIONS_REPORT = 1 << 19,  /* who signs a report, and what else is said beside it */
	OPTIONS_PAGE = 1 << 20,    /* what the dashboard shows, and whether it is opened */
	OPTIONS_POD = 1 << 21,     /* what is left of a container that ended */
	OPTIONS_NO_ETCD = 1 << 22, /* nothing but the API can be reached */
	OPTIONS_PACE = 1 << 23,    /* how fast and how long objects are read one by one */
	OPTIONS_KINDS = 1 << 24,   /* which resources, where that may be said without etcd alone */
	OPTIONS_NONE = 1 << 30,    /* none but --help, which all have */
};

#define DEFAULT_STATE_DIRECTORY "/var/lib/kube-rekey"
#define DEFAULT_TRUST_KEY "/etc/kubernetes/pki/sa.key"

struct options {
	bool json, help, yes;
	const char *output;
	const char *kubeconfig, *context, *server, *request_timeout_text;
	const char *cluster, *user, *as;
	struct strings as_groups;
	struct strings etcd_endpoints, foreign_prefixes, apiservers;
	const char *node_name, *trust_key;
	const char *etcd_cacert, *etcd_cert, *etcd_key, *etcd_prefix;
	const char *encryption_config, *apiserver_manifest, *snapshot, *snapshots;
	struct strings namespaces, resources;
	bool all_namespaces;
	uint64_t qps, concurrency, deadline, settle, servers, kms_timeout; /* durations in ns */
	uint64_t census_interval, request_timeout;
	bool has_settle;
	const char *mode;
	const char *provider, *kms_name, *kms_endpoint, *to, *old_key, *target, *out, *out_seal, *as_deployed, *apply,
		*new_key_copy, *record, *state_dir;
	const char *listen, *tls_cert, *tls_key;
	const char *termination_log; /* NULL: where Kubernetes has it */
	struct strings drop_keys;
	bool open, probe;
	const char *without_key;
	const char *contexts; /* names of them, or a pattern (check) */
	bool drop_identity, renew_dek, follow_kms, compact, allow_aesgcm;
	const char *name; /* of a KeyRotation */
	bool no_wait, promote_old_key, no_etcd;
	/* what check is asked beyond its own questions */
	const char *backup, *require_provider, *expect_key_id;
	struct strings require_resources;
	uint64_t max_key_age; /* ns */
	/* of a report */
	const char *sign_key, *sign_cert, *verify, *signer, *ca, *kms_key_arn;
	struct strings cloudtrails;
	const char *replay; /* a flight record */
	bool no_open;
	struct strings given; /* the long names of all options that were said */
	/* what is left: "secret/app", "drop", a file */
	char **arguments;
	size_t argument_count;
};
/* Parses arguments (without program and command). Options may stand anywhere; "--" ends them. -ERROR_USAGE with
 * what is wrong. */
_must_check_ int options_parse(int argc, char **argv, unsigned groups, struct options *ret, struct error **err);
void options_free(struct options *options);
/* Where the first word is that is no option of any command, nor the value of one: kubectl lets options stand before a command.
 * `count` where there is none. */
size_t options_first_word(char *const *words, size_t count);
/* Whether it was said: "--qps". */
bool options_given(const struct options *options, const char *name);
/* The first one that was said and is none of `names`; NULL. */
const char *options_given_beside(const struct options *options, const char *const *names, size_t count);
/* What help, manual and completion say of an option. */
struct option_text {
	const char *name, *letter, *value, *help; /* letter and value may be NULL */
};
/* The options of these groups one after another, from *at = 0 on; false after the last one. */
bool options_next(unsigned groups, size_t *at, struct option_text *ret);
void options_help(FILE *out, unsigned groups);
