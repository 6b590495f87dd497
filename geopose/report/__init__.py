"""Pictures and pages of data and results.

command.py       the command `report`; page.py: its page, tiles.py and charts.py: the parts of it
demo.py          the command `demo`; demo_page.py: its page, panel.py: its picture
hatching.py      how pictures show hidden ground
figures.py       the command `figures`; example.py, diagram.py, gallery.py and before_after.py: single figures
telltale.py      the command `telltale`: what tells rendered images from real ones
"""
