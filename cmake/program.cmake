# The library and the thin program.
file(GLOB_RECURSE KR_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*.c")
list(FILTER KR_SOURCES EXCLUDE REGEX "/src/cmd/(main|heap)\\.c$")
if(KR_FOLDERS)
	list(JOIN KR_FOLDERS "|" alternatives)
	list(FILTER KR_SOURCES INCLUDE REGEX "^${PROJECT_SOURCE_DIR}/src/(${alternatives})/")
endif()

# The dashboard's page is part of the program.
if(NOT KR_FOLDERS OR serve IN_LIST KR_FOLDERS)
	set(page "${PROJECT_SOURCE_DIR}/src/serve/dashboard")
	set(page_files "${page}/page.html" "${page}/style.css" "${page}/page.js")
	set(page_source "${PROJECT_BINARY_DIR}/dashboard_files.c")
	add_custom_command(OUTPUT "${page_source}"
		COMMAND "${CMAKE_COMMAND}" "-DOUT=${page_source}" -DHEADER=serve/dashboard_files.h
			"-DNAMES=dashboard_html;dashboard_css;dashboard_js" "-DFILES=${page_files}"
			-P "${PROJECT_SOURCE_DIR}/cmake/embed.cmake"
		DEPENDS ${page_files} "${PROJECT_SOURCE_DIR}/cmake/embed.cmake" VERBATIM)
	list(APPEND KR_SOURCES "${page_source}")
endif()

add_library(kube-rekey-core STATIC ${KR_SOURCES})
target_include_directories(kube-rekey-core PUBLIC "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(kube-rekey-core PUBLIC PkgConfig::KR_LIBRARIES Threads::Threads m)

set(KR_HEAP "${PROJECT_SOURCE_DIR}/src/cmd/heap.c")
# The compiler must not see through functions that are being defined here.
set_source_files_properties("${KR_HEAP}" PROPERTIES COMPILE_OPTIONS -fno-builtin)

set(KR_MAIN "${PROJECT_SOURCE_DIR}/src/cmd/main.c")
if(EXISTS "${KR_MAIN}" AND NOT KR_FOLDERS)
	add_executable(kube-rekey "${KR_MAIN}" $<$<BOOL:${KR_WIPING_HEAP}>:${KR_HEAP}>)
	target_link_libraries(kube-rekey PRIVATE kube-rekey-core)
endif()
