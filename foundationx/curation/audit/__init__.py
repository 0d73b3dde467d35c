"""The audit: patients and images that stand on two sides of the split or in two datasets.

fingerprint   what is stored of an image: hashes of file and pixels, and a thumbnail
search        which images could be one image: compact descriptors, compared in blocks
verify        whether two thumbnails show one image: registration, then correlation of fine detail
pairs         from images of a run to pairs of one patient, file, pixels or picture
audit         all of it for a run
report        tables, exclusion list and picture sheet
"""
