/* The files of src/serve/dashboard, as the build puts them into the program (cmake/embed.cmake). */
#pragma once
#include <stddef.h>

extern const unsigned char dashboard_html[], dashboard_css[], dashboard_js[];
extern const size_t dashboard_html_len, dashboard_css_len, dashboard_js_len;
