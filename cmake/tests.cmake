# Tests, found by their names. Each runs in the source folder, so fixtures are "tests/...".

# Whether a test, with the headers beside it, includes nothing from a folder that KR_ONLY leaves out. The public headers
# belong to format.
function(kr_is_wanted file ret)
	set(${ret} TRUE PARENT_SCOPE)
	if(NOT KR_FOLDERS)
		return()
	endif()
	get_filename_component(beside "${file}" DIRECTORY)
	file(STRINGS "${file}" includes REGEX "^#include \"")
	foreach(line IN LISTS includes)
		string(REGEX REPLACE "^#include \"([^\"]+)\".*" "\\1" header "${line}")
		string(REGEX REPLACE "/.*" "" folder "${header}")
		string(REPLACE "kube-rekey" "format" folder "${folder}")
		if(EXISTS "${beside}/${header}")
			kr_is_wanted("${beside}/${header}" wanted)
		elseif(folder IN_LIST KR_FOLDERS)
			set(wanted TRUE)
		else()
			set(wanted FALSE)
		endif()
		if(NOT wanted)
			set(${ret} FALSE PARENT_SCOPE)
		endif()
	endforeach()
endfunction()

function(kr_add_unit_test file)
	get_filename_component(name "${file}" NAME_WE)
	add_executable(${name} "${file}")
	target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")
	target_link_libraries(${name} PRIVATE kube-rekey-core PkgConfig::CMOCKA)
	if(name STREQUAL "test_cmd_heap")
		target_sources(${name} PRIVATE "${KR_HEAP}")
		# Or the compiler leaves out a block that is only written and freed, which is what is tested.
		target_compile_options(${name} PRIVATE -fno-builtin)
	endif()
	if(name STREQUAL "test_quiet")
		target_link_options(${name} PRIVATE -Wl,--wrap=clock_monotonic) # its minutes pass in no time
	endif()
	if(name STREQUAL "test_grpc")
		target_link_options(${name} PRIVATE -Wl,--wrap=secret_wipe) # it looks at what is wiped
	endif()
	add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
	set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 600)
endfunction()

function(kr_add_fuzz_target file)
	get_filename_component(name "${file}" NAME_WE)
	string(REGEX REPLACE "^fuzz_" "" corpus "${name}")
	add_executable(${name} "${file}")
	target_link_libraries(${name} PRIVATE kube-rekey-core)
	add_dependencies(fuzz ${name})
	if(name STREQUAL "fuzz_kube_answers")
		target_link_options(${name} PRIVATE -Wl,--wrap=kube_json_fetch) # what it would fetch is the input
	endif()
	# The corpus once, in either build. libFuzzer would leave what crashed it in the source folder.
	set(options "")
	if(KR_SANITIZE)
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
		set(options -runs=0 -timeout=60 "-artifact_prefix=${CMAKE_BINARY_DIR}/${name}-")
	else()
		target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_main.c")
	endif()
	add_test(NAME ${name} COMMAND ${name} ${options} "tests/fuzz/corpus/${corpus}"
		WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
	set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 300)
endfunction()

# All of them: what preset fuzz builds.
add_custom_target(fuzz)
file(GLOB fuzz_targets CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_*.c")
list(FILTER fuzz_targets EXCLUDE REGEX "/fuzz_main\\.c$")
foreach(file IN LISTS fuzz_targets)
	kr_is_wanted("${file}" wanted)
	if(wanted)
		kr_add_fuzz_target("${file}")
	endif()
endforeach()
file(GLOB unit_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/unit/test_*.c")
if(NOT KR_WIPING_HEAP)
	list(FILTER unit_tests EXCLUDE REGEX "/test_cmd_heap\\.c$")
endif()
foreach(file IN LISTS unit_tests)
	kr_is_wanted("${file}" wanted)
	if(wanted)
		kr_add_unit_test("${file}")
	endif()
endforeach()

file(GLOB checks CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/scripts/check-*")
foreach(file IN LISTS checks)
	get_filename_component(name "${file}" NAME)
	add_test(NAME ${name} COMMAND "${file}" WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
	set_tests_properties(${name} PROPERTIES LABELS check TIMEOUT 120)
endforeach()

if(KR_SANITIZE)
	return()
endif()

# Tests that need more than a glob say so themselves.
if(NOT KR_FOLDERS)
	file(GLOB folders CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*/CMakeLists.txt")
	foreach(file IN LISTS folders)
		get_filename_component(folder "${file}" DIRECTORY)
		add_subdirectory("${folder}")
	endforeach()
endif()

# They wait most of the time, so several run beside one another; each makes control planes of its own. Those that take the
# longest come first, and of them, in turns, one that needs the processor and one that waits. The generated matrices in
# full (scripts/test --all) take hours.
set(long_e2e_tests kms_follow fleet_kill faults fleet findings fleet_storm bad_input fleet_kms census fleet_migrations sweep
	fleet_apply rotate_kill kms rotate fleet_gone check needs managed fleet_commands dashboard readme uninstall
	rotate_providers fleet_version least_privilege monitoring fleet_serve fleet_room fleet_findings manual_gate fleet_abort
	fleet_keys)
if(NOT KR_FOLDERS)
	file(GLOB e2e_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/e2e/test_*.py")
	foreach(file IN LISTS e2e_tests)
		get_filename_component(name "${file}" NAME_WE)
		add_test(NAME e2e_${name} COMMAND python3 -m unittest -v ${name} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}/tests/e2e")
		set_tests_properties(e2e_${name} PROPERTIES LABELS e2e TIMEOUT $<IF:$<BOOL:$ENV{KUBE_REKEY_TEST_ALL}>,14400,1800>
			ENVIRONMENT "KUBE_REKEY=${CMAKE_BINARY_DIR}/kube-rekey")
	endforeach()
	set(cost 100)
	foreach(name IN LISTS long_e2e_tests)
		set_tests_properties(e2e_test_${name} PROPERTIES COST ${cost})
		math(EXPR cost "${cost} - 1")
	endforeach()
endif()
