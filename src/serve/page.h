/* The dashboard's page: its files, which are in the program (src/serve/dashboard), served to one person's browser at 127.0.0.1
 * under a token, and what is pushed to it. Who may: net/web_guard.h. */
#pragma once
#include "base/buf.h"
#include "net/web.h"

struct page;
/* Waits until it listens (top of a command). -ERROR_IO. */
_must_check_ int page_start(struct web *web, struct page **ret, struct error **err);
const char *page_url(const struct page *page); /* with the token, which lets in whoever has it; owned by the page */
/* The latest document to every page that is open. Takes the bytes; empty ones are not sent. */
void page_push(struct page *page, struct buf *bytes);
void page_stop(struct page *page); /* NULL is fine */
