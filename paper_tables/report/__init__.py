"""`report` shows every table, and what stands behind each of its cells, as one HTML page that needs no network.

content.py    what is shown: tables, cells, their runs, all from records, declarations and published numbers
drawings.py   where the marks of the small drawings lie
page.py       the page, written once or again and again
page.html     its template, with page.css and page.js
"""
