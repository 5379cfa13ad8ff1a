"""A factory drawn from a seed, that knows from instantaneous powers what each of its products really took.

Nothing in it keeps to quarters of an hour: runs begin and end at any second, machines start up and work in cycles of
minutes, and what serves several lines follows what they do at each instant. Its meters err within their classes, some
fall silent for hours, and where a utility is shared by a rule, lines really take somewhat more or less than that.
"""
