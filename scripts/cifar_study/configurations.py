"""The configurations of the CIFAR-10 study, what the chapter claims, and the planned runs."""

CLAIMS = {"cnn": 0.923, "bn": 0.967}  # accuracy that the chapter names
STUDY = {
    "cnn": "model=cifar_cnn",
    "bn": "model=cifar_bn",
    "cnn_rate_x10": "model=cifar_cnn optim.lr=0.01",
    "bn_rate_div10": "model=cifar_bn optim.lr=0.001",
    "cnn_no_dropout": "model=cifar_cnn model.dropout=0",
    "bn_dropout": "model=cifar_bn model.dropout=0.5",
    "cnn_l2": "model=cifar_cnn optim.weight_decay=0.0005",
    "bn_l2": "model=cifar_bn optim.weight_decay=0.0005",
    "cnn_no_photometric": "model=cifar_cnn augment=crop",
    "bn_no_photometric": "model=cifar_bn augment=crop",
    "cnn_as_listed": "model=cifar_cnn model.output=as_listed",
    "bn_as_listed": "model=cifar_bn model.output=as_listed",
}
OTHERS = {  # with lengths of their own
    "fixed_filters_mnist": "model=fixed_filters",
    "fixed_filters_cifar10": "model=fixed_filters dataset=cifar10",
    "cifar10_bn_best": "experiment=cifar10_bn_best",
}
CONFIGURATIONS = STUDY | OTHERS

STEPS_PER_EPOCH = 351  # minibatches of 128 of the 45,000 training images
STUDY_EPOCHS = 57  # 20,007 minibatches
PLANNED_SEEDS = {(name, STUDY_EPOCHS): (1, 2, 3) for name in STUDY} | {("cnn", 228): (1,)}
