# What is linked, from the distribution, by pkg-config.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(KR_LIBRARIES REQUIRED IMPORTED_TARGET
	libcurl>=7.88 libcjson>=1.7.15 openssl>=3.0 yaml-0.1>=0.2.5 libsodium>=1.0.18 libwebsockets>=4.1.6 zlib>=1.2.13)
if(KR_TESTS)
	pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
