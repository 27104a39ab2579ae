"""What can be named on the command line, with one line on each: names alone, so that a key is checked at once."""

GRAPHS = {
    "digits-knn": "1,797 handwritten digits and their nearest neighbours; embedded",
    "cora": "citations: 2,708 papers, 7 fields",
    "citeseer": "citations: 3,327 papers, 6 fields",
    "pubmed": "citations: 19,717 papers on diabetes, 3 types",
    "photo": "goods bought together: 7,650 of Amazon's photo goods, 8 kinds",
    "computers": "goods bought together: 13,752 of Amazon's computer goods, 10 kinds",
    "ogbn-arxiv": "citations: 169,343 arXiv papers, 40 fields; needs fedsieve[ogb]",
}

IMAGES = {
    "digits": "1,797 handwritten digits, 8 x 8 grey, 10 classes; embedded",
    "mnist": "handwritten digits: 60,000 and 10,000 for testing, 28 x 28 grey, 10 classes",
    "cifar10": "animals and vehicles: 50,000 and 10,000 for testing, 32 x 32 in colour, 10 classes",
    "fashion-mnist": "clothes: 60,000 and 10,000 for testing, 28 x 28 grey, 10 classes",
    "emnist": "handwritten letters: 124,800 and 20,800 for testing, 28 x 28 grey, 26 classes",
}

GRAPH_PARTITIONS = {
    "metis": "METIS: parts of like size that cut few edges",
    "louvain": "Louvain communities, dealt out to clients of like size",
    "metis-overlapping": "METIS parts shared by several clients, each with a random half",
    "random": "nodes at random, in parts of like size",
    "label-dirichlet": "each class's nodes divided by a Dirichlet draw: OpenFGL's label skew; alpha",
    "feature-dirichlet": "clusters of like features (k-means) divided by a Dirichlet draw; alpha",
}

FLOWER_PARTITIONS = {
    "IidPartitioner": "flwr-datasets' own: at random, in parts of like size",
    "DirichletPartitioner": "flwr-datasets' own: each class by a Dirichlet draw, at least 10 images a client; alpha",
    "InnerDirichletPartitioner": "flwr-datasets' own: clients of like size, each one's classes by a draw; alpha",
    "PathologicalPartitioner": "flwr-datasets' own: a fixed number of classes a client, drawn; classes-per-client",
    "ShardPartitioner": "flwr-datasets' own: shards of one size, what is left over ignored; shards-per-client",
    "LinearPartitioner": "flwr-datasets' own: at random, sizes as 1, 2, 3, ...",
    "SquarePartitioner": "flwr-datasets' own: at random, sizes as 1, 4, 9, ...",
    "ExponentialPartitioner": "flwr-datasets' own: at random, sizes as e, e^2, e^3, ...",
}
"""By the names of their classes."""

REFUSED_PARTITIONS = {
    "ContinuousPartitioner": "a column of numbers and a strictness",
    "DistributionPartitioner": "a table of shares, class by class",
    "GroupedNaturalIdPartitioner": "a column and the size of a group; natural takes a column",
    "IdToSizeFncPartitioner": "a function from a client's number to its size",
    "NaturalIdPartitioner": "a column, which is natural with column",
    "SizePartitioner": "a list of sizes",
    "VerticalEvenPartitioner": "columns to divide, and images have none",
    "VerticalSizePartitioner": "columns to divide, and images have none",
}
"""The others of flwr-datasets, and what of each no key gives."""

IMAGE_PARTITIONS = {
    "iid": "images at random, in parts of like size",
    "dirichlet": "each class divided by a Dirichlet draw: unlike classes and sizes; alpha",
    "pathological": "a fixed number of classes a client; classes-per-client",
    "shards": "images sorted by class, dealt out in shards; shards-per-client",
    **FLOWER_PARTITIONS,
}

GRAPH_MODELS = {
    "gcn": "graph convolutions and a linear classifier (Kipf and Welling, ICLR 2017); takes edge_weight",
    "sage": "the mean of a node's neighbours beside itself: GraphSAGE (Hamilton et al., NeurIPS 2017)",
    "gat": "graph attention of 8 heads (Veličković et al., ICLR 2018); takes edge_attr",
    "gin": "the sum of a node's neighbours and a perceptron: GIN (Xu et al., ICLR 2019)",
    "appnp": "a perceptron and personalised PageRank (Gasteiger et al., ICLR 2019); takes edge_weight",
    "sgc": "a linear classifier of averaged features: SGC (Wu et al., ICML 2019); takes edge_weight",
}

IMAGE_MODELS = {
    "lenet": "LeNet-5 with ELU (LeCun et al. 1998)",
    "conv2": "two convolutions and three linear layers (Frankle and Carbin, ICLR 2019)",
    "conv4": "four convolutions and three linear layers (Frankle and Carbin, ICLR 2019)",
    "mlp": "two hidden layers of 200 units (McMahan et al., AISTATS 2017)",
    "resnet18": "ResNet-18 for small images, with group normalisation (He et al., CVPR 2016)",
}

OWN_PARTITIONS = {
    "given": "as the data come: a file, or folder of images, a client, or a column or array client",
    "natural": "by a column, or array of a graph's nodes: a client for each of its values; column",
}
"""Those that deal nothing: the data say whose they are."""
