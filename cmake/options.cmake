# Flags for everything that is compiled here.
if(KR_ONLY STREQUAL "" OR NOT KR_ONLY)
	set(KR_FOLDERS "")
else()
	set(KR_FOLDERS ${KR_ONLY})
	message(STATUS "kube-rekey: only ${KR_FOLDERS}")
endif()

add_compile_definitions(_GNU_SOURCE KUBE_REKEY_VERSION="${PROJECT_VERSION}")
# The same program from whatever folder it is built in.
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/= ${KR_WARNINGS})
if(KR_SANITIZE)
	add_compile_options(-fsanitize=${KR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_compile_options(-fsanitize=fuzzer-no-link)
	add_link_options(-fsanitize=${KR_SANITIZE})
endif()
if(KR_HARDENING)
	include(hardening)
endif()
