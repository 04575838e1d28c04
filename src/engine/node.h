/* What this control-plane node says about its kube-apiserver: flags from the static-pod manifest or the running
 * process's
 * command line. Data only; who reads files and /proc hands over the text. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

struct node_facts {
	char *source; /* "/etc/kubernetes/manifests/kube-apiserver.yaml" or "process 1234" */
	bool from_manifest;
	char *encryption_config; /* --encryption-provider-config as the server sees it */
	/* The same file on this host (hostPath mounts resolved); NULL when unknown. From a command line it is what
	 * the process
	 * calls it: ask node_same_file whether that is so here. */
	char *encryption_config_host;
	/* The file is mounted by itself: a rename here is never seen by the server. From a command line it is
	 * false: ask
	 * node_single_file_mount. */
	bool single_file_mount;
	char **host_paths; /* what the pod mounts from this host; none from a command line */
	size_t host_path_count;
	bool automatic_reload;
	char **etcd_servers;
	size_t etcd_server_count;
	char **etcd_overrides;
	size_t etcd_override_count; /* --etcd-servers-overrides entries, verbatim: "group/resource#url;url" */
	char *etcd_cacert, *etcd_cert, *etcd_key; /* host paths; NULL when not given or not known here */
	char *etcd_prefix;                        /* "/registry" */
	char *signing_key; /* --service-account-signing-key-file: host path; NULL when not given or not known here */
	char *signing_endpoint; /* --service-account-signing-endpoint: then another program signs; NULL when none does */
	uint64_t request_timeout;     /* ns; default 60 s */
	uint64_t compaction_interval; /* ns; default 5 min; 0 off */
	char *advertise_address, *bind_address;
	uint64_t secure_port;
	unsigned process_id; /* 0 when the source is a manifest and no process was found */
};
/* From the manifest's YAML text, command and args together, "--flag=value" and "--flag value" alike. -ERROR_INPUT
 * naming
 * path: not YAML, no Pod with a kube-apiserver command, a shell script as command, a duration or port that is none; any
 * flag may be missing. `*ret` is untouched on failure. */
_must_check_ int node_facts_from_manifest(const char *path, const char *text, size_t len, struct node_facts *ret,
					  struct error **err);
/* The first flag, of those that facts hold, whose value is not the same in both: its name, static. NULL: none. The file's last, and
 * its mounts count as it does. */
const char *node_facts_difference(const struct node_facts *a, const struct node_facts *b);
#define NODE_FILE_FLAG "encryption-provider-config"
/* Of that file. -ERROR_IO or -ERROR_NOT_FOUND where it cannot be read. */
_must_check_ int node_facts_of_manifest(const char *path, struct node_facts *ret, struct error **err);
/* From NUL-separated arguments (/proc/PID/cmdline). */
_must_check_ int node_facts_from_cmdline(unsigned pid, const char *bytes, size_t len, struct node_facts *ret,
					 struct error **err);
/* Of a process that runs: -ERROR_IO or -ERROR_NOT_FOUND where it cannot be read. */
_must_check_ int node_facts_of_process(const char *proc, unsigned pid, struct node_facts *ret, struct error **err);
#define NODE_APISERVERS_MAX 64 /* looked at on one machine */
/* Finds running processes whose executable or argv[0] is kube-apiserver. How many; the first `max` of their pids, in
 * ascending order, go into `ret`. `proc` is "/proc". */
size_t node_find_apiservers(const char *proc, unsigned *ret, size_t max);
/* Whether process `pid` has a mount exactly at `path`: 1 yes, 0 no, -ERROR_IO unknown. From /proc/PID/mountinfo. */
int node_single_file_mount(const char *proc, unsigned pid, const char *path);
/* Whether `path` here is the very file that the server reads: 1 yes, 0 no, -ERROR_IO: nothing tells, as
 * with facts that are empty. */
int node_reads_file(const struct node_facts *facts, const char *path);
/* Whether process `pid` sees, at path `seen`, the same inode as `host_path` here (through /proc/PID/root): 1 yes, 0
 * no, -ERROR_IO unknown. */
int node_same_file(const char *proc, unsigned pid, const char *seen, const char *host_path);
/* Whether process `pid` and this one are in the same network namespace: 1 yes, 0 no, -ERROR_IO unknown. */
int node_same_network(const char *proc, unsigned pid);
/* A kube-apiserver that runs here and reads this very file; 0: none is seen to. */
unsigned node_reader_of(const char *proc, const char *path);
void node_facts_free(struct node_facts *facts); /* frees the contents and zeroes them */
