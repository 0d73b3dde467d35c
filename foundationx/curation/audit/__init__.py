"""The audit: patients and images that are in two splits or in two datasets.

fingerprint   stored facts of an image: hashes of file and pixels, and a thumbnail
search        candidate pairs of equal images: compact descriptors, compared in blocks
verify        whether two thumbnails show one image: registration, then correlation of fine detail
pairs         from the images of a run to pairs of one patient, file, pixels or picture
audit         all of it for a run
report        tables, exclusion list and picture sheet
"""
