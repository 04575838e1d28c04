# The library and the thin program.
file(GLOB_RECURSE KR_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*.c")
list(FILTER KR_SOURCES EXCLUDE REGEX "/src/cmd/(main|heap)\\.c$")
if(KR_FOLDERS)
	list(JOIN KR_FOLDERS "|" alternatives)
	list(FILTER KR_SOURCES INCLUDE REGEX "^${PROJECT_SOURCE_DIR}/src/(${alternatives})/")
endif()

add_library(kube-rekey-core STATIC ${KR_SOURCES})
target_include_directories(kube-rekey-core PUBLIC "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(kube-rekey-core PUBLIC PkgConfig::KR_LIBRARIES Threads::Threads m)

set(KR_HEAP "${PROJECT_SOURCE_DIR}/src/cmd/heap.c")
# The compiler must not see through functions that are being defined here.
set_source_files_properties("${KR_HEAP}" PROPERTIES COMPILE_OPTIONS -fno-builtin)

set(KR_MAIN "${PROJECT_SOURCE_DIR}/src/cmd/main.c")
if(EXISTS "${KR_MAIN}" AND NOT KR_FOLDERS AND NOT KR_FUZZ)
	add_executable(kube-rekey "${KR_MAIN}" $<$<BOOL:${KR_WIPING_HEAP}>:${KR_HEAP}>)
	target_link_libraries(kube-rekey PRIVATE kube-rekey-core)
	include(GNUInstallDirs)
	install(TARGETS kube-rekey)
endif()
