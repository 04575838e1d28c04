/* `kube-rekey check`: a table of small questions about a cluster, each answered out of what was gathered before.
 *
 * Gathering (check_gather.h) is apart from judging, which is pure: facts and policy in, one result out. A fact that is not at
 * hand comes with the reason; its questions are then "not looked at", which is never "passed". */
#pragma once
#include "base/json_writer.h"
#include "engine/census.h"
#include "engine/fleet.h"
#include "engine/key_seen.h"
#include "engine/node.h"
#include "engine/server_set.h"
#include "engine/trust_key_search.h"
#include "format/apiserver_metrics.h"
#include "format/storage_metrics.h"

struct journal;
struct snapshot_census;

/* What one API server, asked by its own address, says of itself. */
struct check_scrape {
	char *url;
	char *name;      /* by the identity Lease that its metrics name; NULL: they name none */
	char *why;       /* its metrics were not had; NULL: they were */
	bool forbidden;  /* it answers, but we may not read them */
	char *not_ready; /* its words; NULL: it is ready, or was not asked */
	char *ready_why; /* whether it is ready was refused to us; NULL: it was not */
	char *version;   /* NULL: not known */
	struct apiserver_metrics metrics;
	struct strings writes_with; /* prefixes of what it has stored since its start: "k8s:enc:aescbc:v1:", "key1:" */
	uint64_t *writes;           /* of each of them */
	struct storage_metrics storage; /* which keys it wrote with, and which ones its plugins named */
	double kms_seconds;             /* in calls to KMS plugins */
	uint64_t kms_calls;
};
/* A KMS v2 provider, as seen in one place. */
struct check_kms {
	char *provider;
	char *where;       /* "plugin on this machine", "plugin on cp-2", "cp-2" (a server's metrics) */
	char *flaw;        /* NULL: well */
	char *key_id_hash; /* "sha256:..."; NULL: not known */
	uint64_t took;     /* ns that its Status took; 0: not asked by us */
	/* Of a server: when its plugin named that one last, and another one before it; s since 1970 by its clock. */
	double named_at, before_at;
	char *before_hash; /* of the other one; NULL: there was none since the server's start */
};
/* A local key's bytes, in numbers that tell nothing about them. */
struct check_key {
	char *label, *fingerprint; /* "aescbc/key1" */
	size_t bytes, different;   /* how many, and how many different ones */
	bool typed;                /* all are printable: a password, perhaps */
};
struct check_credential {
	char *resource, *object, *field; /* "configmaps", "default/app", "db-password" */
};
struct check_webhook {
	char *name; /* "policy.example.com of ValidatingWebhookConfiguration policies" */
	struct strings resources;
	bool mutates;
};
struct check_member {     /* of etcd */
	char *name, *why; /* why: it does not answer; NULL */
	uint64_t size, in_use, quota;
};

struct check_facts {
	uint64_t wall_now;
	char *cluster_uid;     /* by what clusters are told apart; NULL: not known, */
	char *cluster_uid_why; /* and why */
	/* API servers */
	struct kube_identities identities;
	char *identities_why;
	struct server_set set;
	struct check_scrape *scrapes;
	size_t scrape_count;
	char *scrapes_why;            /* whom to ask is not known */
	char *from_afar;              /* why one of them was asked that may be any; NULL: each by its own address */
	struct fleet fleet;           /* what agents have just reported; empty where there are none */
	struct key_seen keys_seen;    /* by censuses that KeyRotations keep; empty where there are none */
	struct strings silent_agents; /* with a sentence: what they reported once is not looked at */
	/* this node; each `why` is NULL where the fact is known */
	const struct node_facts *node; /* lent; NULL */
	char *node_why;
	char *config_path;
	const struct config_shape *shape; /* in force; lent; NULL */
	char *shape_source;               /* "/etc/...", "KeyServer cp-1" */
	char *config_why;                 /* why the file was not read */
	bool config_broken;               /* config_why is about its content */
	char *file_hash;
	uint64_t file_changed; /* wall ns */
	unsigned file_mode, folder_mode, file_owner;
	bool file_stated;
	int single_file_mount; /* 1 yes, 0 no, negative: not known */
	struct check_key *keys;
	size_t key_count;
	struct journal *journal; /* of a rotation that is half done; NULL */
	char *journal_why;       /* there is one, and it cannot be read */
	/* values */
	struct census *census;
	char *census_why;
	bool another_etcd;                    /* census_why says so */
	struct check_credential *credentials; /* at most CHECK_CREDENTIALS_MAX; */
	size_t credential_count;
	uint64_t credentials_found;     /* all of them */
	struct strings plain_resources; /* that were looked through for them */
	char *credentials_why;
	struct trust_key_search in_secrets;
	char *in_secrets_why;
	char *trust_key_why; /* it is not at hand: only kubeadm's upload was looked for */
	/* KMS */
	struct check_kms *kms;
	size_t kms_count;
	char *kms_why; /* plugins were not asked here */
	/* etcd */
	struct check_member *members;
	size_t member_count;
	char *etcd_why;
	uint64_t compaction_interval; /* ns; 0: off */
	bool compaction_known;
	/* writes */
	struct check_webhook *webhooks;
	size_t webhook_count;
	char *webhooks_why;
	struct strings forbidden; /* "update secrets" */
	char *permissions_why;
	size_t permissions_asked;
	/* --backup */
	char *backup;
	char *backup_why;     /* it is none that can be read */
	uint64_t backup_made; /* wall ns */
	struct snapshot_census *backup_census;
};
#define CHECK_CREDENTIALS_MAX 10
void check_facts_free(struct check_facts *facts); /* the contents */

/* What a person wants beyond that. */
struct check_policy {
	bool has_provider;
	enum provider_type provider;
	const struct strings *resources; /* that must be encrypted */
	const char *key_id;              /* NULL: any */
	uint64_t max_key_age;            /* ns; 0: any */
};

enum check_status {
	CHECK_PASSED,
	CHECK_WARNING,
	CHECK_FAILED,
	CHECK_UNKNOWN, /* not looked at, `what` says why */
	CHECK_DOES_NOT_APPLY,
};
struct check_result {
	enum check_status status;
	char *what;         /* one line; NULL where the title says it all */
	const char *advice; /* what to do; NULL */
};
const char *check_status_name(enum check_status status); /* "passed": stable, for JSON */

struct check {
	const char *id; /* also the anchor in docs/troubleshooting.md */
	const char *group, *title;
	struct check_result (*judge)(const struct check_facts *facts, const struct check_policy *policy);
};
/* In the order in which they are shown: groups together. */
extern const struct check checks[];
extern const size_t check_count;

/* All answers, and how many of each status. */
struct check_report {
	struct check_result *results; /* one for each of checks[] */
	unsigned counts[CHECK_DOES_NOT_APPLY + 1];
};
struct check_report check_judge(const struct check_facts *facts, const struct check_policy *policy);
void check_report_free(struct check_report *report); /* the contents */
