"""The monitor: reads journals into a store and answers for every job (``fiveobs[monitor]``)."""
