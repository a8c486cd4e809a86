/* page_files.h - the files of lib/node/page/, as they were when the binary was made: page_files.S. */
#ifndef SR_NODE_PAGE_FILES_H
#define SR_NODE_PAGE_FILES_H

#include "lib/base/bytes.h"

enum sr_page_file { SR_PAGE_HTML, SR_PAGE_CSS, SR_PAGE_JS, SR_PAGE_SVG, SR_PAGE_FILES };

extern const uint8_t sr_page_html[], sr_page_html_end[], sr_page_css[], sr_page_css_end[], sr_page_js[], sr_page_js_end[], sr_page_svg[],
	sr_page_svg_end[];

static inline struct sr_bytes sr_page_file(enum sr_page_file file)
{
	static const uint8_t *const at[][2] = {[SR_PAGE_HTML] = {sr_page_html, sr_page_html_end},
					       [SR_PAGE_CSS] = {sr_page_css, sr_page_css_end},
					       [SR_PAGE_JS] = {sr_page_js, sr_page_js_end},
					       [SR_PAGE_SVG] = {sr_page_svg, sr_page_svg_end}};

	return sr_bytes(at[file][0], (size_t)(at[file][1] - at[file][0]));
}

#endif
