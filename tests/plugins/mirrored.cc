// A DALI operator that DALI does not have: limit - input, for floats.
#include "dali/pipeline/operator/operator.h"

namespace example {

class Mirrored : public dali::Operator<dali::CPUBackend> {
 public:
  explicit Mirrored(const dali::OpSpec &spec)
      : dali::Operator<dali::CPUBackend>(spec), limit_(spec.GetArgument<float>("limit")) {}

 protected:
  bool SetupImpl(std::vector<dali::OutputDesc> &outputs, const dali::Workspace &workspace) override {
    const auto &input = workspace.Input<dali::CPUBackend>(0);
    outputs.resize(1);
    outputs[0] = {input.shape(), input.type()};
    return true;
  }

  void RunImpl(dali::Workspace &workspace) override {
    const auto &input = workspace.Input<dali::CPUBackend>(0);
    auto &output = workspace.Output<dali::CPUBackend>(0);
    for (int sample = 0; sample < input.num_samples(); sample++) {
      const float *from = input.tensor<float>(sample);
      float *to = output.mutable_tensor<float>(sample);
      const int64_t count = input.shape()[sample].num_elements();
      for (int64_t place = 0; place < count; place++) to[place] = limit_ - from[place];
    }
  }

 private:
  float limit_;
};

}  // namespace example

DALI_REGISTER_OPERATOR(Mirrored, ::example::Mirrored, ::dali::CPU);

DALI_SCHEMA(Mirrored)
    .DocStr("limit - input")
    .NumInput(1)
    .NumOutput(1)
    .AddOptionalArg("limit", "What the input is subtracted from.", 1.0f);
