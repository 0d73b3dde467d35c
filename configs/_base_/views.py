# Mild augmentation that keeps anatomy: no flips (the heart is on the left). The teacher sees the same crop, clean.
_geometry = dict(rotate=7, scale=0.1, shift=0.05)
_photometry = dict(brightness=0.15, contrast=0.15, gamma=0.15)
views = dict(
    classification=dict(geometry=_geometry, photometry=_photometry, teacher="clean"),
    detection=dict(geometry=_geometry, photometry=_photometry, teacher="clean"),
    segmentation=dict(geometry=_geometry, photometry=_photometry, teacher="clean"),
)
