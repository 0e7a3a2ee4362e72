"""Reports: info -> figure -> page.

``study_page``, ``profile_page`` and ``compare_page`` write self-contained HTML files, ``markdown`` writes text.  What
a page says is collected as frozen values first (``study_info``, ``candidate``, ``figures_*``).
"""
