"""The help texts of the commands."""

from textwrap import wrap

from cnnlab import config

TRAIN_HELP = """Train a network and evaluate it.

\b
Examples:
  cnnlab train                            bundled digits, in seconds
  cnnlab train model=mnist_cnn            the chapter's network on MNIST
  cnnlab train model=mnist_mlp epochs=5 optim.lr=0.002
  cnnlab train experiment=mnist_cnn_best  a measured recipe
  cnnlab train -m seed=1,2,3              a sweep, one run a value
  cnnlab train -m model=cifar_cnn,cifar_bn --compare   figure 5-17
  cnnlab train model=cifar_bn augment.preview=true     preview augmentation
  cnnlab train resume=last                continue an interrupted run
  cnnlab train init=last                  a new run from another run's weights
  cnnlab train dataset=folder dataset.root=photos    your own images
  cnnlab train model=style_network style=painting.jpg  for cnnlab stylize
  cnnlab train model=mnist_cnn --cfg job  show all keys, run nothing
"""

EVAL_HELP = """Evaluate a run: the last one, or the one named.

\b
Examples:
  cnnlab eval
  cnnlab eval outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab eval last split=validation checkpoint=best
  cnnlab eval --json
"""

PREDICT_HELP = """Classify your own images with a run: files, and all images in folders.

\b
Examples:
  cnnlab predict digit.png
  cnnlab predict photos
  cnnlab predict photos/*.jpg run=outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab predict digit.png --format csv
"""

BENCH_HELP = """Measure training speed and the machine's peak.

\b
Examples:
  cnnlab bench                            every model, one line each
  cnnlab bench model=mnist_cnn            one model, with time by phase
  cnnlab bench model=mnist_cnn batch_sizes=[32,64,128,256]
  cnnlab bench model=mnist_cnn --profile  also a trace for ui.perfetto.dev
"""

COMPARE_HELP = """Put runs side by side: curves, time to a threshold, scores.

\b
Examples:
  cnnlab compare outputs/train/*_cifar_cnn outputs/train/*_cifar_bn
  cnnlab compare outputs/train/2026-11-24_10-00-00_sweep
  cnnlab compare RUN RUN thresholds=[0.9,0.95] --json
"""

VISUALIZE_HELP = """Look inside a run: the last one, or the one named.

\b
Examples:
  cnnlab visualize                        all visualizers, and report.html
  cnnlab visualize filters last layer=conv_2
  cnnlab visualize saliency photo.jpg     an image of your own
  cnnlab visualize saliency indices=3,17 target=cat
  cnnlab visualize activation_maximization feature_maps last
  cnnlab visualize invariance RUN against=ANOTHER
  cnnlab visualize feature_maps filters=vertical,horizontal,sobel    no run

\b
Visualizers:
  filters                  the first layer's, and their training history
  feature_maps             an image's maps in each layer
  top_activations          the images that activate each channel most
  saliency                 the pixels a prediction depends on, by five methods
  activation_maximization  the input that maximizes a class or channel
  invariance               the effect of shifts, rotations and darkening
"""

EMBED_HELP = """Map the features that a network has learned, drawn with the images.

\b
Examples:
  cnnlab embed --tsne                     the last run, the test set
  cnnlab embed RUN --pca split=train n=null
  cnnlab embed RUN layer=conv_2           any layer's output
  cnnlab embed RUN layer=pixels           raw pixels, for comparison
  cnnlab embed RUN ANOTHER                two networks, aligned maps
  cnnlab embed RUN split=photos           your images among the test set
  cnnlab embed features=resnet18 split=photos    a network trained on
                                          ImageNet, your images only
"""

STYLIZE_HELP = """Render an image in the style of another (neural style transfer).

\b
Examples:
  cnnlab stylize photo.jpg painting.jpg    writes photo_painting.png beside it
  cnnlab stylize photo.jpg painting.jpg strength=0.9 size=800
  cnnlab stylize photo.jpg painting.jpg out=a.jpg     or .tif, .webp
  cnnlab stylize photo.jpg painting.jpg --time 30s
  cnnlab stylize photo.jpg one.jpg two.jpg style_weights=[2,1]
  cnnlab stylize photo.jpg painting.jpg color=content
  cnnlab stylize photo.jpg painting.jpg mask=sky.png  where the mask is white
  cnnlab stylize photo.jpg one.jpg two.jpg mask=[sky.png,ground.png]
  cnnlab stylize photo.jpg painting.jpg wrap=true     a seamless tile
  cnnlab stylize photo.jpg painting.jpg style=chapter
  cnnlab stylize photo.jpg painting.jpg --explore strength=0.5,0.7,0.9
  cnnlab stylize photos/ painting.jpg      a folder: photos_painting/
  cnnlab stylize clip.gif painting.jpg     every frame; or .webp, .apng, .mp4
  cnnlab stylize photo.jpg last            by a style network: cnnlab train
  cnnlab stylize photo.jpg painting.jpg size=4000 memory_limit=4GB out=a.jpg
  cnnlab stylize --reproduce photo_painting.png photo.jpg painting.jpg
  cnnlab stylize --score any.png photo.jpg painting.jpg
"""

DESCRIBE_HELP = """Describe a network's layers: volumes, parameters, work, memory.

Nothing is loaded, downloaded or allocated; without figure= nothing is
written, except by growth.

\b
Examples:
  cnnlab describe model=mnist_cnn
  cnnlab describe last                    the newest run's network
  cnnlab describe model=vgg16 figure=vgg16.svg
  cnnlab describe model=mnist_cnn layer=conv_1.conv   its formulas
  cnnlab describe conv w=5 h=5 d=3 e=3 s=2 p=1 k=2    of any layer
  cnnlab describe pool w=28 h=28 d=32 e=3 s=2
  cnnlab describe growth                  figure 5-3: image and JSON
"""

LR_FIND_HELP = """Find a learning rate by a range test.

\b
Examples:
  cnnlab lr-find
  cnnlab lr-find model=mnist_cnn
  cnnlab lr-find model=mnist_mlp optim=sgd min_lr=1e-4 max_lr=100
"""


def format_group_help() -> str:
    """Return every configuration group with its options, a line each."""
    rows = [
        row
        for group, options in config.list_groups("train").items()
        for row in wrap(
            " | ".join(options),
            76,
            initial_indent=f"  {group + '=':<12}",
            subsequent_indent=" " * 14,
        )
    ]
    return "\b\nGroups, and what each can be:\n" + "\n".join(rows)
