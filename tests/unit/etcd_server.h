/* An etcd member of a test's own making: gRPC over plain HTTP/2 in a thread, with just as much of either as our
 * client uses. Formats: RFC 9113 (frames), RFC 7541 (headers), PROTOCOL-HTTP2.md of gRPC, etcd's rpc.proto. */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "test_support.h"
#include "base/buf.h"
#include "format/pbwire.h"

enum { METHOD_STATUS, METHOD_RANGE, METHOD_MEMBERS, METHOD_COMPACT, METHODS };

struct fake_member {
	uint64_t id;
	const char *name, *url; /* url NULL: none */
	bool learner;
};
struct fake_etcd {
	int fd;
	char url[64];
	pthread_t thread;
	pthread_mutex_t lock;
	uint64_t cluster_id, member_id;
	uint64_t other_member; /* a balancer: this one answers on every second connection */
	const struct fake_member *members;
	size_t member_count;
	int fails[METHODS]; /* gRPC status to answer with; 0: none */
	const char *words;
	bool drop[METHODS];           /* the connection ends instead of an answer */
	bool silent[METHODS];         /* no answer at all */
	bool no_linearizable;         /* no quorum: the member list only from memory */
	size_t kv_count;              /* of a range */
	bool cut_after_kvs;           /* the connection ends after them */
	bool no_revision;             /* in headers */
	uint64_t compacted;           /* ranges below this revision fail */
	uint64_t db_size, db_in_use;  /* of a quota of 2000; 0: half of it, not told */
	uint64_t revision, raft_term; /* 0: 4711 and 3 */
	unsigned asked[METHODS], connections;
};

static inline void fake_header(struct fake_etcd *etcd, struct buf *to, uint64_t member_id)
{
	_cleanup_buf_ header = BUF_INIT(256);

	assert_int_equal(pb_write_varint_field(&header, 1, etcd->cluster_id), 0);
	assert_int_equal(pb_write_varint_field(&header, 2, member_id), 0);
	if (!etcd->no_revision)
		assert_int_equal(pb_write_varint_field(&header, 3, etcd->revision ? etcd->revision : 4711), 0);
	assert_int_equal(pb_write_varint_field(&header, 4, etcd->raft_term ? etcd->raft_term : 3), 0);
	assert_int_equal(pb_write_bytes_field(to, 1, header.data, header.len), 0);
}

static inline void fake_members(struct fake_etcd *etcd, struct buf *to)
{
	for (size_t i = 0; i < etcd->member_count; i++) {
		_cleanup_buf_ member = BUF_INIT(1024);

		assert_int_equal(pb_write_varint_field(&member, 1, etcd->members[i].id), 0);
		assert_int_equal(pb_write_bytes_field(&member, 2, etcd->members[i].name, strlen(etcd->members[i].name)),
				 0);
		if (etcd->members[i].url != NULL)
			assert_int_equal(
				pb_write_bytes_field(&member, 4, etcd->members[i].url, strlen(etcd->members[i].url)),
				0);
		if (etcd->members[i].learner)
			assert_int_equal(pb_write_varint_field(&member, 5, 1), 0);
		assert_int_equal(pb_write_bytes_field(to, 2, member.data, member.len), 0);
	}
}

static inline void fake_kvs(struct fake_etcd *etcd, struct buf *to)
{
	for (size_t i = 0; i < etcd->kv_count; i++) {
		_cleanup_buf_ kv = BUF_INIT(1024);
		_cleanup_free_ char *key = xasprintf("/registry/secrets/a/%04zu", i);

		assert_int_equal(pb_write_bytes_field(&kv, 1, key, strlen(key)), 0);
		assert_int_equal(pb_write_varint_field(&kv, 3, 100 + i), 0);
		assert_int_equal(pb_write_bytes_field(&kv, 5, "k8s:enc:aescbc:v1:key1:value", 28), 0);
		assert_int_equal(pb_write_bytes_field(to, 2, kv.data, kv.len), 0);
	}
	assert_int_equal(pb_write_varint_field(to, 4, etcd->kv_count), 0);
}

static inline void fake_frame(struct buf *out, uint8_t kind, uint8_t flags, const void *bytes, size_t len)
{
	uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, kind, flags, 0, 0, 0, 1};

	assert_int_equal(buf_append(out, head, sizeof(head)), 0);
	assert_int_equal(buf_append(out, bytes, len), 0);
}

static inline void fake_text(struct buf *block, const char *text)
{
	uint8_t len = (uint8_t)strlen(text); /* below 127: one byte, not Huffman-coded */

	assert_int_equal(buf_append(block, &len, 1), 0);
	assert_int_equal(buf_append(block, text, len), 0);
}

static inline void fake_pair(struct buf *block, const char *name, const char *value)
{
	assert_int_equal(buf_append(block, "", 1), 0); /* a literal, not indexed */
	fake_text(block, name);
	fake_text(block, value);
}

static inline void fake_fail(struct fake_etcd *etcd, struct buf *out, int status, const char *words)
{
	_cleanup_buf_ block = BUF_INIT(1024);
	_cleanup_free_ char *number = xasprintf("%d", status);

	(void)etcd;
	assert_int_equal(buf_append(&block, "\x88", 1), 0);
	fake_pair(&block, "content-type", "application/grpc");
	fake_pair(&block, "grpc-status", number);
	fake_pair(&block, "grpc-message", words ? words : "");
	fake_frame(out, 1, 4 | 1, block.data, block.len);
}

/* What a Range asks for: only its revision (field 4) matters here. */
static inline int fake_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	if (depth == 1 && path[0] == 4)
		*(uint64_t *)arg = value;
	return 0;
}

static inline uint64_t fake_revision(const uint8_t *bytes, size_t len)
{
	static const struct pb_handler handler = {.on_varint = fake_varint};
	uint64_t revision = 0;
	struct pb_reader *reader = pb_reader_new(&handler, &revision);

	assert_int_equal(pb_feed(reader, bytes, len), 0);
	pb_reader_free(reader);
	return revision;
}

/* False: the connection shall end. */
static inline bool fake_answer(struct fake_etcd *etcd, int method, uint64_t member_id, const uint8_t *request,
			       size_t len, struct buf *out)
{
	_cleanup_buf_ message = BUF_INIT(16u << 20);
	_cleanup_buf_ block = BUF_INIT(1024), data = BUF_INIT(16u << 20), end = BUF_INIT(1024);
	uint8_t head[5] = {0};
	uint64_t revision;

	etcd->asked[method]++;
	if (etcd->silent[method])
		return true;
	if (etcd->drop[method])
		return false;
	if (etcd->fails[method] != 0 || (method == METHOD_MEMBERS && len > 0 && etcd->no_linearizable)) {
		fake_fail(etcd, out, etcd->fails[method] ? etcd->fails[method] : 14, etcd->words);
		return true;
	}
	revision = method == METHOD_RANGE ? fake_revision(request, len) : 0;
	if (revision > 0 && revision < etcd->compacted) {
		fake_fail(etcd, out, 11, "etcdserver: mvcc: required revision has been compacted");
		return true;
	}
	fake_header(etcd, &message, member_id);
	if (method == METHOD_MEMBERS)
		fake_members(etcd, &message);
	if (method == METHOD_RANGE)
		fake_kvs(etcd, &message);
	if (method == METHOD_STATUS) {
		assert_int_equal(pb_write_bytes_field(&message, 2, "3.6.0", 5), 0);
		assert_int_equal(pb_write_varint_field(&message, 3, etcd->db_size ? etcd->db_size : 1000), 0);
		if (etcd->db_in_use)
			assert_int_equal(pb_write_varint_field(&message, 9, etcd->db_in_use), 0);
		assert_int_equal(pb_write_varint_field(&message, 12, 2000), 0);
	}
	head[3] = (uint8_t)(message.len >> 8);
	head[4] = (uint8_t)message.len;
	head[2] = (uint8_t)(message.len >> 16);
	assert_int_equal(buf_append(&data, head, 5), 0);
	assert_int_equal(buf_append(&data, message.data, message.len), 0);
	assert_int_equal(buf_append(&block, "\x88", 1), 0);
	fake_pair(&block, "content-type", "application/grpc");
	fake_frame(out, 1, 4, block.data, block.len);
	for (size_t at = 0; at < data.len; at += 16384)
		fake_frame(out, 0, 0, data.data + at, data.len - at < 16384 ? data.len - at : 16384);
	if (method == METHOD_RANGE && etcd->cut_after_kvs)
		return false;
	fake_pair(&end, "grpc-status", "0");
	fake_frame(out, 1, 4 | 1, end.data, end.len);
	return true;
}

/* The path comes Huffman-coded; its length tells our four methods apart. -1: none of them. */
static inline int fake_method(const uint8_t *block, size_t len)
{
	static const uint8_t lengths[METHODS] = {0x97, 0x90, 0x97, 0x92};
	static const uint8_t maintenance[] = {0x97, 0x60, 0xa9, 0x24, 0x88, 0x2d, 0x9d, 0xcb, 0x65, 0x71, 0xaf, 0xa0};

	for (size_t i = 0; i + sizeof(maintenance) < len; i++) {
		if (block[i] != 0x04 || block[i + 2] != 0x60)
			continue;
		if (memcmp(block + i + 1, maintenance, sizeof(maintenance)) == 0)
			return METHOD_STATUS;
		for (int method = METHOD_RANGE; method < METHODS; method++)
			if (block[i + 1] == lengths[method])
				return method;
		fprintf(stderr, "a path of length %02x\n", block[i + 1]);
	}
	return -1;
}

static inline bool fake_read(int fd, void *to, size_t len)
{
	uint8_t *at = to;

	while (len > 0) {
		ssize_t got = read(fd, at, len);

		if (got <= 0)
			return false;
		at += got;
		len -= (size_t)got;
	}
	return true;
}

/* So that what was sent is read before the end is seen: closed with something unread, the kernel would throw it away. */
static inline void fake_hang_up(int fd)
{
	uint8_t rest[512];

	shutdown(fd, SHUT_WR);
	while (read(fd, rest, sizeof(rest)) > 0)
		continue;
}

struct fake_connection {
	struct fake_etcd *etcd;
	int fd;
	uint64_t member_id;
};

static inline void *fake_talk(void *arg)
{
	struct fake_connection connection = *(struct fake_connection *)arg;
	static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0}, ack[9] = {0, 0, 0, 4, 1, 0, 0, 0, 0};
	_cleanup_buf_ request = BUF_INIT(1 << 20);
	uint8_t head[24];
	int method = -1;
	bool more;

	free(arg);
	more = fake_read(connection.fd, head, 24) && write(connection.fd, settings, 9) == 9;
	while (more && fake_read(connection.fd, head, 9)) {
		size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
		uint8_t kind = head[3], flags = head[4];
		_cleanup_free_ uint8_t *payload = xmalloc(len + 1);
		_cleanup_buf_ out = BUF_INIT(32u << 20);

		if (!fake_read(connection.fd, payload, len))
			break;
		if (kind == 4 && !(flags & 1))
			more = write(connection.fd, ack, 9) == 9;
		if (kind == 1)
			method = fake_method(payload, len);
		if (kind == 0)
			assert_int_equal(buf_append(&request, payload, len), 0);
		if (kind != 0 || !(flags & 1) || method < 0)
			continue;
		pthread_mutex_lock(&connection.etcd->lock);
		more = fake_answer(connection.etcd, method, connection.member_id, request.data + 5, request.len - 5,
				   &out);
		pthread_mutex_unlock(&connection.etcd->lock);
		if (out.len > 0 && write(connection.fd, out.data, out.len) < 0)
			break;
		if (!more)
			fake_hang_up(connection.fd);
		buf_reset(&request);
	}
	close(connection.fd);
	return NULL;
}

static inline void *fake_serve(void *arg)
{
	struct fake_etcd *etcd = arg;
	int fd;

	while ((fd = accept(etcd->fd, NULL, NULL)) >= 0) {
		struct fake_connection *connection = xcalloc(1, sizeof(*connection));
		pthread_t thread;

		pthread_mutex_lock(&etcd->lock);
		*connection = (struct fake_connection){.etcd = etcd, .fd = fd, .member_id = etcd->member_id};
		if (etcd->other_member != 0 && etcd->connections % 2)
			connection->member_id = etcd->other_member;
		etcd->connections++;
		pthread_mutex_unlock(&etcd->lock);
		if (pthread_create(&thread, NULL, fake_talk, connection) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static inline void fake_etcd_start(struct fake_etcd *etcd, uint64_t cluster_id, uint64_t member_id)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	memset(etcd, 0, sizeof(*etcd));
	etcd->cluster_id = cluster_id;
	etcd->member_id = member_id;
	pthread_mutex_init(&etcd->lock, NULL);
	etcd->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(etcd->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(etcd->fd, 64), 0);
	assert_int_equal(getsockname(etcd->fd, (struct sockaddr *)&address, &len), 0);
	snprintf(etcd->url, sizeof(etcd->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	assert_int_equal(pthread_create(&etcd->thread, NULL, fake_serve, etcd), 0);
}

static inline void fake_etcd_stop(struct fake_etcd *etcd)
{
	shutdown(etcd->fd, SHUT_RDWR);
	close(etcd->fd);
	pthread_join(etcd->thread, NULL);
	usleep(30000); /* for connections that just end */
}
