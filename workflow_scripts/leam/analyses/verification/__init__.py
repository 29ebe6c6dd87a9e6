"""Does a recogniser tell people apart on these very images?"""
