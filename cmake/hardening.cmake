# The hardening flags, in one place. A flag that this compiler or processor does not have is left out.
include(CheckCCompilerFlag)
include(CheckPIESupported)

check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection)
	string(MAKE_C_IDENTIFIER "KR_HAS_${flag}" known)
	check_c_compiler_flag(${flag} ${known})
	if(${known})
		add_compile_options(${flag})
	endif()
endforeach()
# Only with an optimiser, and some compilers define a lower level themselves.
add_compile_options("$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>")
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
