# What `cmake --install` puts where, and the .deb that CPack makes of it. The manual page is what the program prints
# (`kube-rekey manual`), and completion asks the program, so neither differs from --help.
include(GNUInstallDirs)
find_program(GZIP gzip REQUIRED)

set(made "${CMAKE_CURRENT_BINARY_DIR}/install")
file(MAKE_DIRECTORY "${made}")
set(doc "${CMAKE_INSTALL_DATAROOTDIR}/doc/kube-rekey")

add_custom_command(OUTPUT "${made}/kube-rekey.1.gz" DEPENDS kube-rekey VERBATIM
	COMMAND sh -c "\"$<TARGET_FILE:kube-rekey>\" manual > '${made}/kube-rekey.1' && '${GZIP}' -9nf '${made}/kube-rekey.1'")
set(compressed "${made}/kube-rekey.1.gz")
foreach(pair NEWS:changelog packaging/changelog.Debian:changelog.Debian)
	string(REPLACE ":" ";" pair "${pair}")
	list(GET pair 0 from)
	list(GET pair 1 to)
	add_custom_command(OUTPUT "${made}/${to}.gz" DEPENDS "${PROJECT_SOURCE_DIR}/${from}" VERBATIM
		COMMAND sh -c "'${GZIP}' -9nc '${PROJECT_SOURCE_DIR}/${from}' > '${made}/${to}.gz'")
	install(FILES "${made}/${to}.gz" DESTINATION "${doc}")
	list(APPEND compressed "${made}/${to}.gz")
endforeach()
add_custom_target(kube-rekey-documents ALL DEPENDS ${compressed})

# By the one name kubectl finds it as a plugin, by the other it asks for completion.
foreach(name kubectl-rekey kubectl_complete-rekey)
	file(CREATE_LINK kube-rekey "${made}/${name}" SYMBOLIC)
	install(FILES "${made}/${name}" DESTINATION "${CMAKE_INSTALL_BINDIR}")
	file(CREATE_LINK kube-rekey.1.gz "${made}/${name}.1.gz" SYMBOLIC)
	install(FILES "${made}/${name}.1.gz" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
endforeach()
install(TARGETS kube-rekey)
install(FILES "${made}/kube-rekey.1.gz" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES packaging/completion/kube-rekey.bash RENAME kube-rekey
	DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions")
install(FILES packaging/completion/_kube-rekey DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/zsh/vendor-completions")
install(FILES packaging/completion/kube-rekey.fish DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/fish/vendor_completions.d")
install(DIRECTORY manifests DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/kube-rekey")
file(GLOB documents CONFIGURE_DEPENDS docs/*.md)
install(FILES README.md SECURITY.md DESTINATION "${doc}")
install(FILES ${documents} DESTINATION "${doc}/docs")
install(FILES packaging/copyright DESTINATION "${doc}")

# --- the .deb ---

set(KR_MAINTAINER "kube-rekey maintainers <maintainers@kube-rekey.dev>" CACHE STRING "Maintainer of the packages")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME kube-rekey)
set(CPACK_PACKAGE_CONTACT "${KR_MAINTAINER}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# A folder that CPack makes has these rights, whatever the umask.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
	OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${KR_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "rotate the keys that Kubernetes encrypts its data with
kube-rekey rotates the keys of kube-apiserver's EncryptionConfiguration while
the cluster serves, and proves it: the old key leaves only after every value
in etcd was read and none is under it, and after every API server was seen to
run the configuration in which the new key writes.")
include(CPack)
