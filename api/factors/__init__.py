"""Factors that come with the program: few, each with its source and a licence that lets it be given on."""
