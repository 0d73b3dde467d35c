"""Images and tables that are packed into one file, read without unpacking: one file per kind of store.

store     the interface, and how a path such as ``train-0000.tar/a.png`` leads to a file in a store
zip       zip archives
tar       tar archives, such as the shards of webdataset
parquet   Parquet files with a column of images, as Hugging Face publishes them
"""
