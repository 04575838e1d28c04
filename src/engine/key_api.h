/* The names by which our custom resources are known (manifests/base/crds). */
#pragma once

#define KEY_GROUP "kube-rekey.dev"
#define KEY_VERSION "v1alpha1"
#define KEY_API_VERSION KEY_GROUP "/" KEY_VERSION
#define KEY_ROTATIONS_PATH "/apis/" KEY_API_VERSION "/keyrotations" /* cluster-scoped, both */
#define KEY_SERVERS_PATH "/apis/" KEY_API_VERSION "/keyservers"

#define KEY_NAME_MAX 253       /* of a key, an object, a server, a resource */
#define KEY_HASH_MAX 71        /* "sha256:" and 64 digits */
#define KEY_FINGERPRINT_LEN 12 /* hex digits */
#define KEY_WORDS_MAX 1024     /* for people: messages, reasons, evidence */
#define KEY_SERVERS_MAX 64     /* API servers of a cluster */
