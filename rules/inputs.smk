# What jobs read, where it takes more than a name to say: files of shards, of recognisers and of other people.


def brought(paths):
    """Those of some files that a user brings, as inputs."""
    return [path for path in paths if not registry.is_shipped(path)]


def shipped(paths):
    """Digests of those of some files that ship: as parameters, so that a checkout may be moved."""
    return [files.sha256(path) for path in paths if registry.is_shipped(path)]


@functools.cache
def entry_of(model):
    """Once per recogniser, not per job: a crop's margin follows from every recogniser of the run."""
    return settings.recogniser_in_crop(config, model)


def recogniser_entry(wildcards):
    return entry_of(wildcards.model)


def shards_of(kind):
    """The files of a stage for every shard."""
    return [results(f"{kind}/{shard}.h5") for shard in SHARDS]


def maps_of_model(wildcards):
    return shards_of(f"maps/{wildcards.model}")


MAPS = {f"maps_{model}": shards_of(f"maps/{model}") for model in MODELS}


def weights_of(wildcards):
    """The weights' file of a model where it has one and it exists; fetch_weights says what is missing. That of the package
    is none: it is known by its SHA-256, wherever it is installed."""
    entry = registry.recogniser(wildcards.model, recogniser_entry(wildcards))
    is_path = registry.is_path(entry.weights) and not entry.untrained
    exists = is_path and os.path.isfile(entry.weights)
    return [entry.weights] if exists else []


def weights_file(wildcards):
    return brought(weights_of(wildcards))


def shipped_weights(wildcards):
    return shipped(weights_of(wildcards))


def shards_compared(wildcards):
    """A shard, and those from which it takes different people to compare with."""
    limit = config["similarity"]["partner_shards"]
    others = link_lists.partner_shards(wildcards.shard, SHARDS, limit, config["seed"])
    return [wildcards.shard, *others]


def maps_compared(wildcards):
    return [
        results(f"maps/{wildcards.model}/{shard}.h5")
        for shard in shards_compared(wildcards)
    ]


def faces_compared(wildcards):
    return [results(f"faces/{shard}.h5") for shard in shards_compared(wildcards)]


def guides_of_model(wildcards):
    return settings.guides_of_model(config, wildcards.model)


def guides_maps(wildcards):
    return [
        results(f"maps/{guide}/{wildcards.shard}.h5")
        for guide in guides_of_model(wildcards)
    ]


def age_guides(wildcards):
    """The recognisers whose maps measure_ages reads: its own, for its embeddings, and the guide's."""
    return list(dict.fromkeys([wildcards.model, settings.headline_guide(config)]))


def age_maps(wildcards):
    return [
        results(f"maps/{model}/{wildcards.shard}.h5") for model in age_guides(wildcards)
    ]


def world_weights(wildcards):
    """The weights of the recognisers that are looked into in a world, as inputs where the files exist."""
    return brought(settings.world_weights(config, wildcards.world))


def shipped_world_weights(wildcards):
    return shipped(settings.world_weights(config, wildcards.world))


def chain_weights(wildcards):
    """The weights of the recogniser that was trained for a world of the calibration."""
    return shipped([registry.shipped_weights(registry.world_model(wildcards.kind))])


def general_weights(wildcards):
    """The weights of a recogniser that was trained on rendered people who differ everywhere."""
    return shipped([registry.shipped_weights(wildcards.general)])
