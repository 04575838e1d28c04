/* Looks for planted markers in the whole memory of this process, through /proc/self/mem, after they were freed. */
#include "test_support.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <yaml.h>

#define MARKER_SIZE 32

/* The needle is kept inverted, so that looking for it does not find itself. */
static uint8_t inverted[MARKER_SIZE];

/* What is read goes here, into a mapping of its own, which is not looked at. */
#define WINDOW_SIZE ((size_t)1 << 20)
static uint8_t *window;

static void new_needle(void)
{
	assert_int_equal(getrandom(inverted, sizeof(inverted), 0), sizeof(inverted));
	/* As text for YAML and strdup: letters from 'a' to 'p'. */
	for (size_t i = 0; i < sizeof(inverted); i++)
		inverted[i] = (uint8_t) ~('a' + (inverted[i] & 15));
}

/* Byte by byte: a vector register with the marker would be spilled to the stack, and found there. */
static void plant(char *to)
{
	for (volatile size_t i = 0; i < MARKER_SIZE; i++)
		to[i] = (char)~inverted[i];
}

static bool matches(const uint8_t *at)
{
	for (volatile size_t i = 0; i < MARKER_SIZE; i++)
		if ((at[i] ^ inverted[i]) != 0xff)
			return false;
	return true;
}

static size_t count_in_window(size_t len)
{
	size_t found = 0;
	for (size_t i = 0; i + MARKER_SIZE <= len; i++)
		found += (window[i] ^ inverted[0]) == 0xff && matches(window + i);
	return found;
}

/* Ranges overlap by a marker's length less one, so that none is missed or counted twice. */
static size_t count_in_range(int memory, uint64_t from, uint64_t to)
{
	size_t found = 0;
	while (from + MARKER_SIZE <= to) {
		size_t want = to - from < WINDOW_SIZE ? (size_t)(to - from) : WINDOW_SIZE;
		ssize_t got = pread(memory, window, want, (off_t)from);
		if (got < MARKER_SIZE)
			break;
		found += count_in_window((size_t)got);
		from += (uint64_t)got - (MARKER_SIZE - 1);
	}
	return found;
}

static size_t count_in_memory(void)
{
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	FILE *maps = fopen("/proc/self/maps", "re");
	assert_true(memory >= 0 && maps);
	char line[512];
	size_t found = 0;
	while (fgets(line, sizeof(line), maps)) {
		uint64_t from, to;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) != 2 || !strstr(line, " rw"))
			continue;
		/* The kernel may show it as one with its neighbours. */
		uint64_t window_from = (uint64_t)(uintptr_t)window, window_to = window_from + WINDOW_SIZE;
		if (from <= window_from && window_to <= to) {
			found += count_in_range(memory, from, window_from);
			from = window_to;
		}
		found += count_in_range(memory, from, to);
	}
	fclose(maps);
	close(memory);
	return found;
}

static int fresh(void **state)
{
	(void)state;
	new_needle();
	return 0;
}

static char *planted_block(size_t size)
{
	char *block = malloc(size);
	assert_non_null(block);
	plant(block);
	return block;
}

/* Without this, a search that finds nothing would prove nothing. */
static void test_a_block_in_use_is_found(void **state)
{
	(void)state;
	char *block = planted_block(MARKER_SIZE);
	assert_int_equal(count_in_memory(), 1);
	free(block);
	assert_int_equal(count_in_memory(), 0);
}

static void test_whole_usable_size(void **state)
{
	(void)state;
	/* Small blocks, large ones, and those with a mapping of their own; the marker at the end. */
	static const size_t sizes[] = {40, 1000, 5000, 100000, 1 << 20};
	for (size_t i = 0; i < ELEMENTS(sizes); i++) {
		char *block = malloc(sizes[i]);
		assert_non_null(block);
		plant(block + malloc_usable_size(block) - MARKER_SIZE);
		assert_int_equal(count_in_memory(), 1);
		free(block);
		assert_int_equal(count_in_memory(), 0);
	}
}

static void test_strdup(void **state)
{
	(void)state;
	char text[MARKER_SIZE + 1] = "";
	plant(text);
	char *copy = strdup(text);
	explicit_bzero(text, sizeof(text));
	assert_int_equal(count_in_memory(), 1);
	free(copy);
	assert_int_equal(count_in_memory(), 0);
}

static void test_realloc_that_moves(void **state)
{
	(void)state;
	char *block = planted_block(MARKER_SIZE);
	char *barrier = malloc(MARKER_SIZE); /* so that it cannot grow in place */
	block = realloc(block, 5000);
	assert_non_null(block);
	assert_int_equal(count_in_memory(), 1);
	block = reallocarray(block, 1000, 1000);
	assert_non_null(block);
	assert_int_equal(count_in_memory(), 1);
	free(block);
	free(barrier);
	assert_int_equal(count_in_memory(), 0);
}

static void test_realloc_that_cuts(void **state)
{
	(void)state;
	char *block = malloc(5000);
	assert_non_null(block);
	memset(block, 'x', 100);
	plant(block + 4000);
	block = realloc(block, 100);
	assert_non_null(block);
	assert_int_equal(count_in_memory(), 0);
	assert_int_equal(block[99], 'x');
	free(block);
}

static void test_realloc_of_null_and_to_nothing(void **state)
{
	(void)state;
	char *block = realloc(NULL, MARKER_SIZE);
	assert_non_null(block);
	plant(block);
	volatile size_t nothing = 0;
	assert_null(realloc(block, nothing));
	assert_int_equal(count_in_memory(), 0);
}

static void test_aligned(void **state)
{
	(void)state;
	void *blocks[] = {NULL, aligned_alloc(64, 128), memalign(4096, 100), valloc(100), pvalloc(100)};
	assert_int_equal(posix_memalign(&blocks[0], 256, 100), 0);
	for (size_t i = 0; i < ELEMENTS(blocks); i++) {
		assert_int_equal((uintptr_t)blocks[i] % 64, 0);
		plant(blocks[i]);
	}
	assert_int_equal(count_in_memory(), ELEMENTS(blocks));
	for (size_t i = 0; i < ELEMENTS(blocks); i++)
		free(blocks[i]);
	assert_int_equal(count_in_memory(), 0);
	void *none = NULL;
	assert_int_equal(posix_memalign(&none, 3, 100), EINVAL);
	assert_int_equal(posix_memalign(&none, 48, 100), EINVAL);
	assert_null(none);
}

static void test_calloc_is_zero_and_free_keeps_errno(void **state)
{
	(void)state;
	free(planted_block(200));
	char *block = calloc(2, 100);
	assert_non_null(block);
	for (int i = 0; i < 200; i++)
		assert_int_equal(block[i], 0);
	errno = ENOENT;
	free(block);
	free(NULL);
	assert_int_equal(errno, ENOENT);
}

/* What the product does to a configuration: libyaml copies the scalar into buffers of its own. */
static void test_libyaml(void **state)
{
	(void)state;
	char text[] = "secret: ................................\n";
	plant(strchr(text, '.'));
	yaml_parser_t parser;
	yaml_document_t document;
	assert_true(yaml_parser_initialize(&parser));
	yaml_parser_set_input_string(&parser, (const uint8_t *)text, strlen(text));
	assert_true(yaml_parser_load(&parser, &document));
	explicit_bzero(text, sizeof(text));
	assert_true(count_in_memory() > 0);
	yaml_document_delete(&document);
	yaml_parser_delete(&parser);
	assert_int_equal(count_in_memory(), 0);
}

static void test_libcurl_and_openssl(void **state)
{
	(void)state;
	char text[MARKER_SIZE + 1] = "";
	plant(text);
	struct curl_slist *list = curl_slist_append(NULL, text);
	char *copy = OPENSSL_strdup(text);
	explicit_bzero(text, sizeof(text));
	assert_int_equal(count_in_memory(), 2);
	curl_slist_free_all(list);
	OPENSSL_free(copy);
	assert_int_equal(count_in_memory(), 0);
}

int main(void)
{
	window = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (window == MAP_FAILED)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_block_in_use_is_found, fresh),
		cmocka_unit_test_setup(test_whole_usable_size, fresh),
		cmocka_unit_test_setup(test_strdup, fresh),
		cmocka_unit_test_setup(test_realloc_that_moves, fresh),
		cmocka_unit_test_setup(test_realloc_that_cuts, fresh),
		cmocka_unit_test_setup(test_realloc_of_null_and_to_nothing, fresh),
		cmocka_unit_test_setup(test_aligned, fresh),
		cmocka_unit_test_setup(test_calloc_is_zero_and_free_keeps_errno, fresh),
		cmocka_unit_test_setup(test_libyaml, fresh),
		cmocka_unit_test_setup(test_libcurl_and_openssl, fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
